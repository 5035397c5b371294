//! The guest's commits as a branch of the host's repository.

use banger_proto::Code;
use banger_proto::api::Branched;

use super::*;

#[tokio::test]
async fn commits_come_home() {
    let rig = Rig::new().await;
    let (host, guest) = (rig.host.as_path(), rig.guest.as_path());
    let bring = |name: &'static str| rig.post::<Branched>("branch", json!({ "name": name }));
    let none = bring("work").await.unwrap_err();
    assert_eq!(none.message, "the guest has no commits beyond the one that was brought in");

    write(guest, "b", "one\n");
    commit(guest, "one");
    git(guest, &["repack", "-q", "-d"]);
    write(guest, "b", "two\n");
    commit(guest, "two");
    write(guest, "b", "not committed\n");
    let mut before = git_files(host);
    let files = tree(host);
    let branched = bring("work").await.unwrap();
    assert_eq!(branched.commit, git(guest, &["rev-parse", "HEAD"]));
    assert!(branched.notes[0].contains("not committed"), "{branched:?}");
    assert_eq!(git(host, &["log", "--format=%s", "work"]), "two\none\nsecond\nfirst");
    assert_eq!(git(host, &["show", "work:b"]), "two");
    git(host, &["fsck", "--full", "--strict"]);
    assert_eq!(tree(host), files);
    // The branch and what git notes of it are all that is new.
    let mut after = git_files(host);
    for new in ["refs/heads/work", "logs/refs/heads/work"] {
        assert!(after.remove(Path::new(new)).is_some(), "{new}");
    }
    before.remove(Path::new("objects"));
    assert_eq!(after, before);

    let again = bring("work").await.unwrap_err();
    assert_eq!(
        (again.code, again.message.as_str()),
        (Code::AlreadyExists, "branch `work` exists already")
    );
    for bad in ["", "-x", "a..b", "@{-1}", "HEAD", "a b"] {
        let problem = bring(bad).await.unwrap_err();
        assert_eq!(problem.code, Code::BadRequest, "{bad}");
    }
    rig.daemon.stop().await;
}

#[tokio::test]
async fn commits_that_git_would_not_take_stay() {
    let rig = Rig::new().await;
    let (host, guest) = (rig.host.as_path(), rig.guest.as_path());
    // A tree whose file would be written into `.git`.
    let blob = git(guest, &["hash-object", "-w", "a"]);
    let list = guest.join("list");
    fs_err::write(&list, format!("100644 blob {blob}\tconfig\n")).unwrap();
    let tree_of = |list: &Path| {
        let input = fs_err::File::open(list).unwrap().into_parts().0;
        let made = Command::new("git").current_dir(guest).arg("mktree").stdin(input).output();
        String::from_utf8(made.unwrap().stdout).unwrap().trim_end().to_owned()
    };
    let inner = tree_of(&list);
    fs_err::write(&list, format!("040000 tree {inner}\t.git\n")).unwrap();
    let outer = tree_of(&list);
    let commit = git(guest, &["commit-tree", "-p", "HEAD", "-m", "bad", &outer]);
    fs_err::remove_file(&list).unwrap();
    git(guest, &["update-ref", "refs/heads/main", &commit]);
    let before = git_files(host);
    let problem = rig.post::<Branched>("branch", json!({ "name": "x" })).await.unwrap_err();
    assert_eq!(problem.message, "git does not take the guest's commits", "{problem:?}");
    assert!(problem.causes[0].contains("hasDotgit"), "{problem:?}");
    assert_eq!(git_files(host), before);
    rig.daemon.stop().await;
}
