//! Patches, and how a workspace is on both sides.

use banger_proto::Code;

use super::*;

#[tokio::test]
async fn everything_since_the_base_is_one_patch() {
    let rig = Rig::new().await;
    let base = git(&rig.host, &["rev-parse", "HEAD"]);
    assert!(rig.round_trip(&base).await.is_empty());
    let (commit, guest) = (commit, rig.guest.as_path());
    write(guest, "sub/committed", "c\n");
    commit(guest, "in the guest");
    write(guest, "a", "one\nTWO\nthree\nfour\nfive\nsix\nseven\n");
    write(guest, "new file", "n");
    write(guest, "staged", [0, 159, 146, 150]);
    git(guest, &["add", "staged"]);
    fs_err::remove_file(guest.join("old")).unwrap();
    set_mode(guest, "run.sh", 0o644);
    fs_err::remove_file(guest.join("link")).unwrap();
    symlink("/etc/passwd", guest.join("link")).unwrap();
    fs_err::rename(guest.join("sub/b"), guest.join("moved")).unwrap();
    write(guest, "empty", "");
    write(guest, OsStr::from_bytes(b"dir/\xff\n\"q\"\t"), "odd\n");
    let patch = rig.round_trip(&base).await;
    let text = String::from_utf8_lossy(&patch);
    assert!(text.contains("rename from sub/b") && text.contains("GIT binary patch"), "{text}");

    let (names, _) = rig.answer("names").await.unwrap();
    let names = String::from_utf8(names).unwrap();
    assert!(names.starts_with("a\n\"dir/\\377\\n\\\"q\\\"\\t\"\nempty\n"), "{names}");
    let (stat, _) = rig.answer("stat").await.unwrap();
    assert!(String::from_utf8(stat).unwrap().contains("new file"));
    rig.daemon.stop().await;
}

#[tokio::test]
async fn ignored_files_stay_unless_they_are_added() {
    let rig = Rig::new().await;
    let guest = rig.guest.as_path();
    for path in ["x.o", "sub/y.o", "target/deep/z", "added.o", "sub/.gitignore", "sub/local"] {
        write(guest, path, "/local\n");
    }
    git(guest, &["add", "-f", "added.o"]);
    write(guest, "vendor/lib/code", "nested");
    git(&guest.join("vendor/lib"), &["init", "-q"]);
    let (_, notes) = rig.patch().await;
    let (names, _) = rig.answer("names").await.unwrap();
    assert_eq!(String::from_utf8(names).unwrap(), "added.o\nsub/.gitignore\n");
    assert_eq!(notes, ["`vendor/lib` is a repository of its own, which stays in the guest"]);
    rig.daemon.stop().await;
}

#[tokio::test]
async fn uncommitted_edits_of_the_host_are_in_the_patch() {
    let rig = Rig::of(|top| {
        repository(top);
        write(top, "a", "edited on the host\n");
        write(top, "untracked", "stays\n");
        fs_err::remove_file(top.join("old")).unwrap();
    })
    .await;
    assert_eq!(rig.status().await.guest.changed, 0);
    let base = git(&rig.host, &["rev-parse", "HEAD"]);
    rig.round_trip(&base).await;
    let (names, _) = rig.answer("names").await.unwrap();
    assert_eq!(String::from_utf8(names).unwrap(), "a\nold\n");
    rig.daemon.stop().await;
}

#[tokio::test]
async fn line_ends_come_home_as_git_stores_them() {
    let rig = Rig::of(|top| {
        repository(top);
        write(top, ".gitattributes", "*.txt text eol=crlf\n*.bin -text\n");
        write(top, "windows.txt", "a\r\nb\r\n");
        write(top, "raw.bin", "a\r\nb\n");
        commit(top, "line ends");
    })
    .await;
    assert_eq!(fs_err::read(rig.guest.join("windows.txt")).unwrap(), b"a\r\nb\r\n");
    let base = git(&rig.host, &["rev-parse", "HEAD"]);
    assert!(rig.round_trip(&base).await.is_empty());
    write(&rig.guest, "windows.txt", "a\r\nB\r\n");
    write(&rig.guest, "raw.bin", "a\r\nB\n");
    let patch = String::from_utf8(rig.round_trip(&base).await).unwrap();
    assert!(patch.contains("\n-b\n+B\n") && !patch.contains("+a"), "{patch}");
    rig.daemon.stop().await;
}

#[tokio::test]
async fn repositories_of_every_kind() {
    let sha256: fn(&Path) = |top| {
        fs_err::create_dir_all(top).unwrap();
        git(top, &["init", "-q", "-b", "main", "--object-format=sha256"]);
        write(top, "a", "a\n");
        commit(top, "first");
    };
    let worktree: fn(&Path) = |top| {
        let main = top.with_file_name("main");
        repository(&main);
        git(&main, &["worktree", "add", "-q", top.to_str().unwrap(), "-b", "side"]);
    };
    for make in [sha256, worktree] {
        let rig = Rig::of(make).await;
        let base = git(&rig.host, &["rev-parse", "HEAD"]);
        write(&rig.guest, "a", "changed\n");
        write(&rig.guest, "b", "new\n");
        let (patch, _) = rig.patch().await;
        assert!(String::from_utf8(patch).unwrap().contains("+changed"));
        let applied: serde_json::Value = rig.post("apply", json!({})).await.unwrap();
        assert_eq!(applied["files"], json!(["a", "b"]));
        assert_eq!(tree(&rig.host).get(Path::new("b")), tree(&rig.guest).get(Path::new("b")));
        assert_eq!(git(&rig.host, &["rev-parse", "HEAD"]), base);
        rig.daemon.stop().await;
    }
}

#[tokio::test]
async fn a_repository_without_commits_and_one_with_untracked_files() {
    let env = TestEnv::new();
    let host = env.dir().join("new");
    fs_err::create_dir_all(&host).unwrap();
    git(&host, &["init", "-q", "-b", "main"]);
    write(&host, "staged", "s\n");
    git(&host, &["add", "staged"]);
    write(&host, "untracked", "u\n");
    let rig = Rig::over(env, host, true).await;
    write(&rig.guest, "untracked", "changed\n");
    let (names, _) = rig.answer("names").await.unwrap();
    assert_eq!(String::from_utf8(names).unwrap(), "staged\nuntracked\n");
    let _: serde_json::Value = rig.post("apply", json!({})).await.unwrap();
    assert_eq!(fs_err::read(rig.host.join("untracked")).unwrap(), b"changed\n");
    rig.daemon.stop().await;
}

#[tokio::test]
async fn both_sides_are_told() {
    let rig = Rig::new().await;
    let base = git(&rig.host, &["rev-parse", "HEAD"]);
    write(&rig.host, "a", "h\n");
    commit(&rig.host, "on the host");
    write(&rig.host, "old", "dirty\n");
    git(&rig.guest, &["checkout", "-q", "-b", "work"]);
    write(&rig.guest, "b", "g\n");
    commit(&rig.guest, "in the guest");
    write(&rig.guest, "c", "g\n");
    let status = rig.status().await;
    assert_eq!(status.base, Some(base));
    assert_eq!(status.host.head, Some(git(&rig.host, &["rev-parse", "HEAD"])));
    assert_eq!((status.host.branch.as_deref(), status.host.changed), (Some("main"), 1));
    assert_eq!(status.guest.head, Some(git(&rig.guest, &["rev-parse", "HEAD"])));
    assert_eq!((status.guest.branch.as_deref(), status.guest.changed), (Some("work"), 2));
    rig.daemon.stop().await;
}

#[tokio::test]
async fn a_vm_without_a_workspace_says_so() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    super::super::create(&daemon, "web").await;
    let answer = daemon.client.call(Method::GET, "/v1/vms/web/workspace", ()).await;
    let problem = answer.problem();
    assert_eq!(problem.message, "VM `web` has no workspace whose changes are known");
    assert!(problem.hints[0].contains("banger vm run PATH"), "{problem:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_workspace_that_was_removed_can_be_brought_in_again() {
    let rig = Rig::new().await;
    fs_err::remove_dir_all(&rig.guest).unwrap();
    let problem = rig.answer("names").await.unwrap_err();
    assert_eq!(problem.code, Code::NotFound);
    assert!(problem.hints[0].contains("banger vm workspace prepare"), "{problem:?}");
    rig.daemon.stop().await;
}
