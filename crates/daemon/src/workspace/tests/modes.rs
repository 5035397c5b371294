//! All of the history, submodules, and branches of the guest's own.

use super::*;
use crate::workspace::commits::load_known;

const FULL: Options = Options { mode: WorkspaceMode::Full, ..TRACKED };

fn branch(name: &str, from: Option<&str>) -> Options {
    let from = from.map(str::to_owned);
    Options { branch: Some(GuestBranch { name: name.to_owned(), from }), ..TRACKED }
}

async fn text(guest: &Guest, args: &[&str]) -> String {
    String::from_utf8(guest.git(args).await).unwrap().trim_end().to_owned()
}

#[tokio::test]
async fn a_full_one_has_all_branches_and_tags() {
    let host = Host::with_history().await;
    host.git(&["branch", "side", "HEAD^"]).await;
    host.git(&["tag", "-a", "-m", "one", "v1", "HEAD^"]).await;
    host.git(&["update-ref", "refs/remotes/origin/main", "HEAD^"]).await;
    host.git(&["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"]).await;
    host.git(&["update-ref", "refs/remotes/other/main", "HEAD^"]).await;
    host.write("a", "edited\n");
    host.git(&["stash", "-q"]).await;
    host.write("a", "edited again\n");
    let guest = host.send(FULL).await;
    assert_eq!(text(&guest, &["rev-list", "--count", "HEAD"]).await, "2");
    assert_eq!(text(&guest, &["rev-parse", "--is-shallow-repository"]).await, "false");
    assert_eq!(
        text(&guest, &["for-each-ref", "--format=%(refname)"]).await,
        "refs/heads/main\nrefs/heads/side\nrefs/remotes/origin/main\nrefs/tags/v1"
    );
    assert_eq!(guest.read("a"), "edited again\n");
}

#[tokio::test]
async fn a_full_one_of_a_shallow_clone_ends_where_that_ends() {
    let host = Host::with_history().await;
    let url = format!("file://{}", host.top.display());
    let clone = host.directory.path().join("clone");
    host.git(&["clone", "-q", "--depth=1", &url, clone.to_str().unwrap()]).await;
    let host = Host { top: clone, ..host };
    host.git(&["config", "user.name", "A U Thor"]).await;
    host.write("a", "more\n");
    host.commit().await;
    let guest = host.send(FULL).await;
    assert_eq!(text(&guest, &["rev-list", "--count", "HEAD"]).await, "2");
    assert_eq!(text(&guest, &["rev-parse", "--is-shallow-repository"]).await, "true");
}

#[tokio::test]
async fn a_full_one_of_a_linked_worktree() {
    let host = Host::with_history().await;
    let linked = host.directory.path().join("linked");
    host.git(&["worktree", "add", "-q", linked.to_str().unwrap(), "-b", "side", "HEAD^"]).await;
    let host = Host { top: linked, ..host };
    host.write("old", "edited\n");
    let guest = host.send(FULL).await;
    assert_eq!(text(&guest, &["branch", "--show-current"]).await, "side");
    assert_eq!(text(&guest, &["rev-list", "--count", "main"]).await, "2");
}

/// A repository with a submodule that has one itself, and one that is not checked out.
async fn with_submodules() -> Host {
    let host = Host::with_history().await;
    let inner = Host::with_history().await;
    let url = inner.top.to_str().unwrap();
    let allow = ["-c", "protocol.file.allow=always", "submodule", "add", "-q"];
    let add = async |host: &Host, path: &str| {
        host.git(&[&allow[..], &[url, path]].concat()).await;
        host.commit().await;
    };
    add(&host, "lib/one").await;
    add(&host, "absent").await;
    host.git(&["submodule", "deinit", "-q", "-f", "absent"]).await;
    let one = Host { top: host.top.join("lib/one"), ..Host::empty().await };
    add(&one, "deep").await;
    host.commit().await;
    host
}

#[tokio::test]
async fn a_full_one_has_its_submodules_as_they_are_on_disk() {
    let host = with_submodules().await;
    host.write("lib/one/a", "edited\n");
    host.write("lib/one/untracked", "u\n");
    host.write("lib/one/deep/sub/b", "edited, too\n");
    let guest = host.send(FULL).await;
    assert_eq!(guest.read("lib/one/a"), "edited\n");
    assert_eq!(guest.read("lib/one/deep/sub/b"), "edited, too\n");
    assert!(!guest.has("lib/one/untracked") && guest.top.join("absent").is_dir());
    assert_eq!(text(&guest, &["-C", "lib/one", "rev-list", "--count", "HEAD"]).await, "3");
    assert_eq!(text(&guest, &["-C", "lib/one/deep", "status", "--porcelain"]).await, " M sub/b");
    let refused = host.inspect().await.unwrap_err().problem();
    assert!(refused.hints[0].contains("--mode full"), "{refused:?}");
}

#[tokio::test]
async fn a_link_in_the_place_of_a_submodule_leads_nowhere() {
    let host = with_submodules().await;
    fs_err::rename(host.top.join("lib"), host.directory.path().join("lib")).unwrap();
    std::os::unix::fs::symlink("../lib", host.top.join("lib")).unwrap();
    let source = Source::inspect(&host.env, &host.top, FULL).await;
    // Whether git follows it or not, nothing from outside is listed.
    if let Ok(source) = source {
        let files = source.files().await.unwrap();
        assert!(files.iter().all(|file| !file.path.starts_with("lib/one")), "{files:?}");
    }
}

#[tokio::test]
async fn a_branch_of_the_guests_own_has_the_edits() {
    let host = Host::with_history().await;
    host.write("a", "edited\n");
    let source = Source::inspect(&host.env, &host.top, branch("topic/x", None)).await.unwrap();
    let workspace = source.workspace();
    assert_eq!(workspace.branch.as_deref(), Some("topic/x"));
    assert_eq!(workspace.host_head, None);
    let guest = host.send(branch("topic/x", None)).await;
    assert_eq!(text(&guest, &["branch", "--show-current"]).await, "topic/x");
    assert_eq!(guest.read("a"), "edited\n");
    assert!(host.git(&["branch", "--list", "topic/x"]).await.is_empty());
}

#[tokio::test]
async fn a_branch_from_another_commit_has_that_commits_files() {
    let host = Host::with_history().await;
    host.write("crlf", "one\r\ntwo\r\n");
    host.write(".gitattributes", "crlf text\n");
    host.commit().await;
    host.write("a", "edited\n");
    host.write("untracked", "u\n");
    let first = host.git(&["rev-parse", "HEAD^"]).await;
    let options = branch("topic", Some("HEAD^"));
    let source = Source::inspect(&host.env, &host.top, options.clone()).await.unwrap();
    let names: Vec<_> = source.files().await.unwrap().into_iter().map(|file| file.path).collect();
    assert_eq!(names, ["a", "link", "old", "run.sh", "sub/b"].map(PathBuf::from));
    let workspace = source.workspace();
    assert_eq!(workspace.head.unwrap().as_bytes(), first.trim_ascii_end());
    assert!(workspace.host_head.is_some());
    let guest = host.unpack(&source).await;
    assert_eq!(guest.working_tree(), names);
    assert_eq!(text(&guest, &["status", "--porcelain", "-b"]).await, "## topic");
    assert_eq!(guest.git(&["rev-parse", "HEAD"]).await, first);
    assert_eq!(guest.read("a"), "one\ntwo\nthree\nfour\nfive\n");
}

#[tokio::test]
async fn branches_and_commits_that_cannot_be() {
    let host = Host::with_history().await;
    let refused = async |options: Options| {
        let error = Source::inspect(&host.env, &host.top, options).await.unwrap_err();
        error.problem().message.replace(host.directory.path().to_str().unwrap(), "")
    };
    for name in ["", "-x", "a..b", "HEAD", "a b", "x.lock", "@{-1}", "a\0b"] {
        let said = refused(branch(name, None)).await;
        assert_eq!(said, format!("no branch of `/re po` can be called `{name}`"));
    }
    for from in ["none", "--all", "HEAD:a", "", "HEAD\0"] {
        let said = refused(branch("x", Some(from))).await;
        assert_eq!(said, format!("`/re po` has no commit `{from}`"));
    }
    host.git(&["branch", "feature/x"]).await;
    let options = Options { mode: WorkspaceMode::Full, ..branch("feature", None) };
    let source = Source::inspect(&host.env, &host.top, options).await.unwrap();
    let error = source.archive(host.directory.path()).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::BranchName { .. }), "{error:?}");
}

#[tokio::test]
async fn commits_that_the_host_has_are_known() {
    let host = Host::with_history().await;
    let head = String::from_utf8(host.git(&["rev-parse", "HEAD"]).await).unwrap();
    let head = head.trim_end().to_owned();
    let source = host.inspect().await.unwrap();
    let asked = [head.clone(), "0".repeat(40), "HEAD".into(), "-x\n\u{1b}".into(), "0".repeat(64)];
    assert_eq!(load_known(&source.git, &asked).await.unwrap(), [head].into());
}
