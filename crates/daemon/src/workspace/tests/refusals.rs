//! Repositories that cannot travel.

use super::*;

async fn refusal(host: &Host, path: &Path) -> String {
    let error = Source::inspect(&host.env, path, TRACKED).await.unwrap_err();
    error.to_string().replace(host.directory.path().to_str().unwrap(), "")
}

#[tokio::test]
async fn paths_without_a_repository() {
    let host = Host::with_history().await;
    let base = host.directory.path();
    assert_eq!(refusal(&host, &base.join("none")).await, "cannot read `/none`");
    assert_eq!(refusal(&host, &host.top.join("a")).await, "`/re po/a` is not a directory");
    assert_eq!(refusal(&host, base).await, "`` is not in a git repository");
    let inside = refusal(&host, &host.top.join(".git/objects")).await;
    assert!(inside.contains("this operation must be run in a work tree"), "{inside}");
}

#[tokio::test]
async fn bare_repository() {
    let host = Host::with_history().await;
    let bare = host.directory.path().join("bare");
    host.git(&["clone", "-q", "--bare", ".", bare.to_str().unwrap()]).await;
    let message = refusal(&host, &bare).await;
    assert_eq!(message, "`/bare` is a bare git repository: it has no files to bring in");
}

#[tokio::test]
async fn submodules() {
    let host = Host::with_history().await;
    let commit = String::from_utf8(host.git(&["rev-parse", "HEAD"]).await).unwrap();
    let entry = format!("160000,{},lib/module", commit.trim_end());
    host.git(&["update-index", "--add", "--cacheinfo", &entry]).await;
    let error = host.inspect().await.unwrap_err();
    let problem = error.problem();
    let told = "has submodules (`lib/module`), which cannot be brought in";
    assert!(problem.message.ends_with(told), "{problem}");
    assert!(problem.hints[1].contains("re po/lib/module"), "{problem:?}");
    assert_eq!(problem.code, banger_proto::Code::BadRequest);
}

#[tokio::test]
async fn other_peoples_repository() {
    let host = Host::with_history().await;
    // Git's own way to pretend for tests that the owner is somebody else.
    let env = host.env.clone().with("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1");
    let error = Source::inspect(&env, &host.top, TRACKED).await.unwrap_err().to_string();
    assert!(error.contains("detected dubious ownership"), "{error}");
    assert!(error.contains("safe.directory"), "{error}");
}

#[tokio::test]
async fn no_git_at_all() {
    let host = Host::with_history().await;
    let env = HostEnv::from_env(|name| (name == "PATH").then(|| "/nowhere".into()));
    let error = Source::inspect(&env, &host.top, TRACKED).await.unwrap_err();
    assert!(error.problem().hints[0].starts_with("Install git"), "{error:?}");
}

#[tokio::test]
async fn files_that_cannot_be_read() {
    let host = Host::with_history().await;
    let source = host.inspect().await.unwrap();
    let missing = host.directory.path().join("no temp");
    let error = source.archive(&missing).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::Prepare { .. }), "{error:?}");
    fs_err::write(host.top.join(".git/index"), "broken").unwrap();
    let error = source.archive(host.directory.path()).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::Git { .. }), "{error:?}");
}

#[tokio::test]
async fn line_breaks_in_the_repositorys_own_path() {
    let host = Host::with_history().await;
    let odd = host.directory.path().join("odd\n:\"path\"\\");
    fs_err::rename(&host.top, &odd).unwrap();
    let host = Host { top: odd, ..host };
    host.write("a", "changed\n");
    host.send(TRACKED).await;
}
