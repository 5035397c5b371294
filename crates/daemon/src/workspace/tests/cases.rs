//! The kinds of repositories there are.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use super::*;

#[tokio::test]
async fn clean_repository() {
    let host = Host::with_history().await;
    let source = host.inspect().await.unwrap();
    assert_eq!(source.head().branch().as_deref(), Some("main"));
    assert_eq!(source.notice(), None);
    let guest = host.send(TRACKED).await;
    assert_eq!(guest.git(&["status", "--porcelain"]).await, b"");
    assert_eq!(guest.git(&["rev-list", "--count", "HEAD"]).await, b"1\n");
    assert_eq!(guest.git(&["branch", "--show-current"]).await, b"main\n");
    assert_eq!(guest.read("link"), "b\n");
}

#[tokio::test]
async fn every_kind_of_change() {
    let host = Host::with_history().await;
    host.write("both", "1\n");
    host.write("renamed from", "long enough to be found as a rename\n");
    host.write("gone", "gone\n");
    host.write("gone staged", "gone\n");
    host.write("type", "a file\n");
    host.commit().await;
    host.write("both", "2\n");
    host.git(&["add", "both"]).await;
    host.write("both", "3\n");
    host.git(&["mv", "renamed from", "renamed to"]).await;
    host.remove("gone");
    host.git(&["rm", "-q", "gone staged"]).await;
    host.write("new staged", "new\n");
    host.git(&["add", "new staged"]).await;
    host.write("new staged, gone", "new\n");
    host.git(&["add", "new staged, gone"]).await;
    host.remove("new staged, gone");
    host.remove("type");
    symlink("anywhere", host.top.join("type")).unwrap();
    host.remove("link");
    host.write("link", "a file now\n");
    host.set_mode("run.sh", 0o644);
    host.set_mode("a", 0o755);
    host.write("empty", "");
    host.git(&["add", "-N", "empty"]).await;
    host.write("intended", "later\n");
    host.git(&["add", "-N", "intended"]).await;
    let guest = host.send(TRACKED).await;
    assert_eq!(guest.read("both"), "3\n");
    assert_eq!(guest.git(&["show", ":both"]).await, b"2\n");
    assert_eq!(fs_err::read_link(guest.top.join("type")).unwrap(), Path::new("anywhere"));
}

#[tokio::test]
async fn repository_without_commits() {
    let host = Host::empty().await;
    let guest = host.send(TRACKED).await;
    assert!(guest.working_tree().is_empty());
    assert_eq!(guest.git(&["status", "--porcelain", "-b"]).await, b"## No commits yet on main\n");
    host.write("staged", "s\n");
    host.git(&["add", "staged"]).await;
    assert_eq!(host.inspect().await.unwrap().workspace().head, None);
    host.send(TRACKED).await;
}

#[tokio::test]
async fn detached_head() {
    let host = Host::with_history().await;
    host.git(&["checkout", "-q", "--detach", "HEAD^"]).await;
    let source = host.inspect().await.unwrap();
    assert_eq!(source.workspace().branch, None);
    let guest = host.send(TRACKED).await;
    assert_eq!(guest.working_tree(), [Path::new("old")]);
}

#[tokio::test]
async fn branch_names_are_bytes() {
    let host = Host::with_history().await;
    let branch = name(b"feature/\xff/x");
    git_in(&host.env, &host.top, &[OsStr::new("checkout"), OsStr::new("-qb"), &branch]).await;
    let guest = host.send(TRACKED).await;
    let current = guest.git(&["symbolic-ref", "HEAD"]).await;
    assert_eq!(current, b"refs/heads/feature/\xff/x\n");
}

#[tokio::test]
async fn sha256_repository() {
    let host = Host::init(&["init", "-q", "-b", "main", "--object-format=sha256"]).await;
    host.write("a", "a\n");
    host.commit().await;
    host.write("b", "b\n");
    host.git(&["add", "b"]).await;
    host.send(TRACKED).await;
}

#[tokio::test]
async fn names_are_bytes() {
    let host = Host::empty().await;
    let long = [b"\xff".as_slice(), &b"x".repeat(180), b"/\xfe", &b"y".repeat(200)].concat();
    let names: &[&[u8]] = &[
        b"space and 'quote' \"double\"",
        b"new\nline",
        b"tab\tand\\backslash",
        b"\xff\xfe not utf-8",
        b"-dash",
        b":(glob)*",
        b"dir\n/file",
        "ünï/cödé".as_bytes(),
        &long,
    ];
    for bytes in names {
        host.write(name(bytes), "x\n");
        host.write(name(&[bytes, b".untracked".as_slice()].concat()), "u\n");
    }
    host.write(".gitignore", "*.untracked\n");
    host.commit().await;
    host.write(".gitignore", "*.other\n");
    let target = "./a//b/./".repeat(30);
    symlink(&target, host.top.join("long link")).unwrap();
    symlink("./odd//text/", host.top.join("short link")).unwrap();
    host.git(&["add", "long link", "short link"]).await;
    assert_eq!(host.inspect().await.unwrap().untracked(), Some(names.len()));
    let guest = host.send(UNTRACKED).await;
    assert_eq!(guest.working_tree().len(), 2 * names.len() + 3);
    let link = fs_err::read_link(guest.top.join("long link")).unwrap();
    assert_eq!(link.as_os_str(), target.as_str());
}

#[tokio::test]
async fn untracked_only_when_asked_and_ignored_never() {
    let host = Host::with_history().await;
    host.write(".gitignore", "*.secret\n/target/\n");
    host.commit().await;
    host.write("key.secret", "s");
    host.write("target/out", "o");
    host.write("sub/notes", "n");
    fs_err::write(host.top.join(".git/info/exclude"), "private\n").unwrap();
    host.write("private", "p");
    fs_err::create_dir_all(host.directory.path().join("home/.config/git")).unwrap();
    fs_err::write(host.directory.path().join("home/.config/git/ignore"), "*~").unwrap();
    host.write("a~", "backup");
    fs_err::create_dir(host.top.join("nested")).unwrap();
    git_in(&host.env, &host.top.join("nested"), &["init", "-q"]).await;
    host.write("nested/inside", "i");

    let source = Source::inspect(&host.env, &host.top.join("sub"), TRACKED).await.unwrap();
    let notice = source.notice().unwrap();
    assert_eq!(notice, "1 untracked file stays on the host; `--include-untracked` brings it in");
    let all = Source::inspect(&host.env, &host.top, UNTRACKED).await.unwrap();
    assert_eq!(all.notice(), None);
    let guest = host.send_from(&host.top.join("sub"), TRACKED).await;
    assert!(!guest.has("sub/notes"));
    let guest = host.send(UNTRACKED).await;
    assert_eq!(guest.read("sub/notes"), "n");
    for leaked in ["key.secret", "target", "private", "a~", "nested"] {
        assert!(!guest.has(leaked), "{leaked}");
    }
    // The rules came along: what a build leaves is not taken for work.
    fs_err::write(guest.top.join("b~"), "").unwrap();
    fs_err::write(guest.top.join("private"), "").unwrap();
    assert_eq!(guest.git(&["status", "--porcelain"]).await, b"?? sub/notes\n");
}

#[tokio::test]
async fn line_endings_follow_the_hosts_settings() {
    let host = Host::empty().await;
    host.git(&["config", "core.autocrlf", "true"]).await;
    host.write("dos", "a\r\nb\r\n");
    host.write("unix", "a\nb\n");
    host.write(".gitattributes", "*.bin binary\n");
    host.write("x.bin", b"\0\r\n\xff");
    host.commit().await;
    let guest = host.send(TRACKED).await;
    assert_eq!(guest.read("dos"), "a\r\nb\r\n");
    assert_eq!(guest.git(&["status", "--porcelain"]).await, b"");
}

#[tokio::test]
async fn attributes_outside_the_tree_count() {
    let host = Host::empty().await;
    fs_err::create_dir_all(host.top.join(".git/info")).unwrap();
    fs_err::write(host.top.join(".git/info/attributes"), "*.txt eol=crlf\n").unwrap();
    host.write("a.txt", "a\r\n");
    host.commit().await;
    let guest = host.send(TRACKED).await;
    assert_eq!(guest.git(&["status", "--porcelain"]).await, b"");
}

#[tokio::test]
async fn modes_that_git_does_not_watch() {
    let host = Host::with_history().await;
    host.git(&["config", "core.fileMode", "false"]).await;
    host.set_mode("a", 0o700);
    let guest = host.send(TRACKED).await;
    let mode = fs_err::metadata(guest.top.join("a")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(guest.git(&["status", "--porcelain"]).await, b"");
}

#[tokio::test]
async fn conflicts_stay_conflicts() {
    let host = Host::with_history().await;
    host.git(&["checkout", "-qb", "other"]).await;
    host.write("a", "one\nTWO\nthree\nfour\nfive\n");
    host.remove("old");
    host.commit().await;
    host.git(&["checkout", "-q", "main"]).await;
    host.write("a", "one\ndeux\nthree\nfour\nfive\n");
    host.write("old", "changed\n");
    host.commit().await;
    let merge = Program::new(&host.env, "git").current_dir(&host.top).args(["merge", "other"]);
    assert_eq!(merge.capture(1 << 20).await.unwrap().status.code(), Some(1));
    let guest = host.send(TRACKED).await;
    let status = guest.git(&["status", "--porcelain"]).await;
    assert_eq!(status, b"UU a\nUD old\n");
    assert_eq!(guest.git(&["show", ":3:a"]).await, b"one\nTWO\nthree\nfour\nfive\n");
}

#[tokio::test]
async fn parents_that_became_links_or_files() {
    let host = Host::with_history().await;
    host.write("dir/file", "tracked\n");
    host.write("flat/file", "tracked\n");
    host.write("grown", "tracked\n");
    host.commit().await;
    let outside = host.directory.path().join("outside");
    fs_err::create_dir(&outside).unwrap();
    fs_err::write(outside.join("file"), "secret\n").unwrap();
    fs_err::remove_dir_all(host.top.join("dir")).unwrap();
    symlink(&outside, host.top.join("dir")).unwrap();
    fs_err::remove_dir_all(host.top.join("flat")).unwrap();
    host.write("flat", "a file now\n");
    host.remove("grown");
    host.write("grown/inside", "untracked\n");
    let guest = host.send(TRACKED).await;
    assert!(!guest.has("dir") && !guest.has("flat") && !guest.has("grown"));
    let guest = host.send(UNTRACKED).await;
    assert_eq!(fs_err::read_link(guest.top.join("dir")).unwrap(), outside);
    assert_eq!(guest.read("grown/inside"), "untracked\n");
}

#[tokio::test]
async fn flags_of_the_index_stay() {
    let host = Host::with_history().await;
    host.git(&["update-index", "--assume-unchanged", "a"]).await;
    host.git(&["update-index", "--skip-worktree", "old"]).await;
    host.write("a", "unseen\n");
    host.remove("old");
    let guest = host.send(TRACKED).await;
    assert_eq!(guest.read("a"), "unseen\n");
    assert_eq!(guest.git(&["status", "--porcelain"]).await, b"");
}

#[tokio::test]
async fn sparse_checkout_with_a_sparse_index() {
    let host = Host::with_history().await;
    host.write("out/c", "c\n");
    host.write("out/deep/d", "d\n");
    host.commit().await;
    host.git(&["sparse-checkout", "set", "--cone", "--sparse-index", "sub"]).await;
    let guest = host.send(TRACKED).await;
    assert!(!guest.has("out") && guest.has("sub/b"));
    guest.git(&["sparse-checkout", "disable"]).await;
    assert_eq!(guest.read("out/deep/d"), "d\n");
}

#[tokio::test]
async fn split_index_with_caches() {
    let host = Host::with_history().await;
    host.git(&["config", "core.untrackedCache", "true"]).await;
    host.git(&["config", "core.splitIndex", "true"]).await;
    host.write("a", "changed\n");
    host.git(&["update-index", "--split-index", "--untracked-cache"]).await;
    host.git(&["add", "a"]).await;
    let guest = host.send(TRACKED).await;
    let index = fs_err::read(guest.top.join(".git/index")).unwrap();
    assert!(!index.windows(4).any(|window| window == b"UNTR"));
}

#[tokio::test]
async fn index_for_many_files() {
    let host = Host::with_history().await;
    host.git(&["config", "feature.manyFiles", "true"]).await;
    host.git(&["update-index", "--index-version", "4"]).await;
    host.write("a", "changed\n");
    host.git(&["add", "a"]).await;
    let index = fs_err::read(host.top.join(".git/index")).unwrap();
    assert_eq!(&index[..8], b"DIRC\0\0\0\x04");
    let guest = host.send(TRACKED).await;
    let index = fs_err::read(guest.top.join(".git/index")).unwrap();
    assert_eq!(&index[..8], b"DIRC\0\0\0\x02");
    assert!(index.iter().rev().take(20).any(|byte| *byte != 0), "the index has no checksum");
}

#[tokio::test]
async fn linked_worktree() {
    let host = Host::with_history().await;
    let linked = host.directory.path().join("linked");
    host.git(&["worktree", "add", "-q", "-b", "side", linked.to_str().unwrap()]).await;
    let host = Host { top: linked, ..host };
    host.write("a", "only here\n");
    host.git(&["add", "a"]).await;
    let guest = host.send(TRACKED).await;
    assert_eq!(guest.git(&["branch", "--show-current"]).await, b"side\n");
}

#[tokio::test]
async fn working_tree_elsewhere() {
    let host = Host::with_history().await;
    let elsewhere = host.directory.path().join("else where");
    fs_err::create_dir(&elsewhere).unwrap();
    host.git(&["config", "core.worktree", elsewhere.to_str().unwrap()]).await;
    fs_err::write(elsewhere.join("a"), "changed\n").unwrap();
    let source = host.inspect().await.unwrap();
    assert_eq!(source.top_level(), elsewhere.canonicalize().unwrap());
    let files = source.files().await.unwrap();
    assert_eq!(files.iter().map(|file| &file.path).collect::<Vec<_>>(), [Path::new("a")]);
}

#[tokio::test]
async fn shallow_clone_and_borrowed_objects() {
    let upstream = Host::with_history().await;
    for (arguments, depth) in [(&["--depth=1"][..], "1"), (&["--shared"], "2")] {
        let clone = upstream.directory.path().join(depth);
        let url = format!("file://{}", upstream.top.display());
        let url = if depth == "2" { upstream.top.to_str().unwrap() } else { &url };
        let mut command = vec!["clone", "-q", url, clone.to_str().unwrap()];
        command.extend(arguments);
        upstream.git(&command).await;
        let host =
            Host { top: clone, env: upstream.env.clone(), directory: tempfile::tempdir().unwrap() };
        host.write("a", "changed\n");
        let guest = host.send(TRACKED).await;
        let origin = guest.git(&["remote", "get-url", "origin"]).await;
        assert_eq!(String::from_utf8(origin).unwrap().trim_end(), url);
    }
}

#[tokio::test]
async fn partial_clone_without_all_blobs() {
    let upstream = Host::with_history().await;
    upstream.git(&["config", "uploadpack.allowFilter", "true"]).await;
    let clone = upstream.directory.path().join("clone");
    let url = format!("file://{}", upstream.top.display());
    let clone_path = clone.to_str().unwrap();
    upstream.git(&["clone", "-q", "--filter=blob:none", "--sparse", &url, clone_path]).await;
    let host =
        Host { top: clone, env: upstream.env.clone(), directory: tempfile::tempdir().unwrap() };
    let guest = host.send(TRACKED).await;
    assert!(!guest.has("sub"));
    assert_eq!(guest.git(&["status", "--porcelain"]).await, b"");
    // What is missing can be had from the origin, as on the host.
    assert_eq!(guest.git(&["show", "HEAD:sub/b"]).await, b"b\n");
}

#[tokio::test]
async fn credentials_and_hooks_stay() {
    let host = Host::with_history().await;
    let marker = host.directory.path().join("ran");
    let hook = format!("#!/bin/sh\ntouch '{}'\n", marker.display());
    for name in ["post-index-change", "pre-commit", "fsmonitor", "reference-transaction"] {
        host.write(format!(".git/hooks/{name}"), &hook);
        host.set_mode(&format!(".git/hooks/{name}"), 0o755);
    }
    host.git(&["config", "remote.origin.url", "https://u:hunter2@example.org/x"]).await;
    host.git(&["config", "credential.helper", "store --file=hunter2"]).await;
    host.git(&["config", "http.extraHeader", "Authorization: hunter2"]).await;
    host.git(&["config", "core.fsmonitor", ".git/hooks/fsmonitor"]).await;
    host.git(&["config", "filter.x.clean", &format!("touch '{}'; cat", marker.display())]).await;
    host.git(&["stash", "list"]).await;
    let _ = fs_err::remove_file(&marker);
    let source = host.inspect().await.unwrap();
    let archive = source.archive(host.directory.path()).await.unwrap();
    let mut chunks = archive.stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await.unwrap() {
        bytes.extend(chunk);
    }
    assert!(!marker.exists(), "a program of the host's settings ran");
    let tar = zstd::decode_all(bytes.as_slice()).unwrap();
    assert!(!tar.windows(7).any(|window| window == b"hunter2"));
    let guest = tempfile::tempdir().unwrap();
    tar::Archive::new(tar.as_slice()).unpack(guest.path()).unwrap();
    assert!(!guest.path().join(".git/hooks").exists());
    let config = fs_err::read_to_string(guest.path().join(".git/config")).unwrap();
    assert!(config.contains("url = \"https://example.org/x\""), "{config}");
}

#[tokio::test]
async fn filtered_files_are_clean_without_the_filter() {
    let host = Host::empty().await;
    host.git(&["config", "filter.turn.clean", "tr a-z n-za-m"]).await;
    host.git(&["config", "filter.turn.smudge", "tr a-z n-za-m"]).await;
    host.write(".gitattributes", "*.turned filter=turn\n");
    host.write("x.turned", "real content\n");
    host.write("plain", "plain\n");
    // Long before the index, or git would have to look at the contents after all.
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let file = fs_err::File::options().write(true).open(host.top.join("x.turned")).unwrap();
    file.file().set_modified(time).unwrap();
    host.commit().await;
    host.write("plain", "edited\n");
    let guest = host.send(TRACKED).await;
    assert_eq!(guest.read("x.turned"), "real content\n");
    assert_eq!(guest.git(&["show", "HEAD:x.turned"]).await, b"erny pbagrag\n");
    assert_eq!(guest.git(&["status", "--porcelain"]).await, b" M plain\n");
}

#[tokio::test]
async fn large_files_and_times() {
    let host = Host::with_history().await;
    let large: Vec<u8> =
        (0..3_000_000_u32).flat_map(|n| (n.wrapping_mul(n) >> 7).to_le_bytes()).collect();
    host.write("large", &large);
    host.commit().await;
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs_err::File::options()
        .write(true)
        .open(host.top.join("large"))
        .unwrap()
        .file()
        .set_modified(time)
        .unwrap();
    let guest = host.send(TRACKED).await;
    assert_eq!(fs_err::read(guest.top.join("large")).unwrap(), large);
    assert_eq!(fs_err::metadata(guest.top.join("large")).unwrap().modified().unwrap(), time);
}

#[tokio::test]
async fn work_goes_on_in_the_guest() {
    let host = Host::with_history().await;
    host.write("a", "edited\n");
    let guest = host.send(TRACKED).await;
    fs_err::write(guest.top.join("made in guest"), "new\n").unwrap();
    guest.git(&["add", "-A"]).await;
    guest.git(&["commit", "-q", "-m", "in the guest"]).await;
    guest.git(&["gc", "-q"]).await;
    guest.git(&["checkout", "-q", "-b", "next"]).await;
    assert_eq!(guest.git(&["rev-list", "--count", "HEAD"]).await, b"2\n");
}

/// More than the queue of a stream takes, however well it is compressed.
fn noise() -> Vec<u8> {
    (0..2_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect()
}

#[test]
fn guests_that_take_nothing_hold_no_thread_of_the_runtime() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let host = Host::with_history().await;
        host.write("noise", noise());
        host.commit().await;
        let temp = tempfile::tempdir().unwrap();
        let mut begun = Vec::new();
        for _ in 0..2 {
            let source = host.inspect().await.unwrap();
            let archive = source.archive(temp.path());
            let archive = tokio::time::timeout(Duration::from_secs(60), archive).await;
            let mut chunks = archive.expect("a thread to prepare with").unwrap().stream();
            assert!(chunks.next().await.unwrap().is_some());
            begun.push(chunks);
        }
        for chunks in begun {
            chunks.abandon().await;
        }
    });
}

#[tokio::test]
async fn a_dropped_stream_leaves_nothing() {
    let host = Host::with_history().await;
    host.write("large", vec![7; 1 << 20]);
    host.write("noise", noise());
    host.commit().await;
    let temp = tempfile::tempdir().unwrap();
    let source = host.inspect().await.unwrap();
    let mut chunks = source.archive(temp.path()).await.unwrap().stream();
    assert!(chunks.next().await.unwrap().is_some());
    chunks.abandon().await;
    assert_eq!(fs_err::read_dir(temp.path()).unwrap().count(), 0);
}
