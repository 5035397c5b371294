//! Tools that a workspace names: which VMs are refused for them.

use std::path::Path;

use banger_proto::Code;
use banger_proto::api::{CreateVm, GuestBranch, WorkspaceSource};
use banger_testkit::{Boot, TestDaemon, TestEnv};

use super::super::{create_fails, list, named};
use super::{commit, git, repository, write};

fn asked(host: &Path) -> CreateVm {
    let path = host.to_str().unwrap().to_owned();
    let workspace = WorkspaceSource { path, ..WorkspaceSource::default() };
    CreateVm { workspace: Some(workspace), bootstrap: true, ..named("web") }
}

/// Makes the VM, and deletes it; the file that names its tools.
async fn tools(env: &TestEnv, daemon: &TestDaemon, asked: CreateVm) -> Option<String> {
    let root = tempfile::tempdir_in(env.dir()).unwrap();
    fs_err::create_dir_all(root.path().join("root")).unwrap();
    env.world.next_boot(Boot::InDirectory(root.path().to_owned()));
    let vm = daemon.client.events("/v1/vms", asked).await.ready().await;
    super::super::delete(daemon, "web").await;
    vm.workspace.unwrap().tools
}

#[tokio::test]
async fn tools_that_travel_need_a_way_to_get_them() {
    let env = TestEnv::new();
    let host = env.dir().join("repo");
    repository(&host);
    let daemon = TestDaemon::start(&env).await;
    let from = |reference: &str, nat| {
        let mut asked = CreateVm { nat: Some(nat), ..asked(&host) };
        let branch = GuestBranch { name: "new".into(), from: Some(reference.to_owned()) };
        asked.workspace.as_mut().unwrap().branch = Some(branch);
        asked
    };

    // Not at the top, not tracked, or not wanted: nothing to install.
    write(&host, "sub/mise.toml", "");
    commit(&host, "below");
    write(&host, "mise.toml", "");
    assert_eq!(tools(&env, &daemon, asked(&host)).await, None);
    let untracked = |nat| {
        let mut asked = CreateVm { nat: Some(nat), ..asked(&host) };
        asked.workspace.as_mut().unwrap().include_untracked = true;
        asked
    };
    let unwanted = CreateVm { bootstrap: false, ..untracked(false) };
    assert_eq!(tools(&env, &daemon, unwanted).await.as_deref(), Some("mise.toml"));

    let problem = create_fails(&daemon, untracked(false)).await;
    assert_eq!(problem.code, Code::Conflict);
    assert!(problem.message.starts_with("`mise.toml` in `"), "{problem:?}");
    let told = "` names tools, and a VM without `--nat` cannot get them from anywhere";
    assert!(problem.message.ends_with(told), "{problem:?}");
    assert!(problem.hints.iter().any(|hint| hint.contains("--nat")), "{problem:?}");
    assert!(problem.hints.iter().any(|hint| hint.contains("--no-bootstrap")), "{problem:?}");
    assert!(list(&daemon).await.is_empty(), "nothing is made");
    assert_eq!(tools(&env, &daemon, untracked(true)).await.as_deref(), Some("mise.toml"));

    // Those of another commit are that commit's.
    git(&host, &["mv", "-f", "sub/mise.toml", ".tool-versions"]);
    commit(&host, "tools");
    fs_err::remove_file(host.join("mise.toml")).unwrap();
    assert_eq!(tools(&env, &daemon, from("HEAD^", false)).await, None);
    let problem = create_fails(&daemon, from("HEAD^0", false)).await;
    assert!(problem.message.starts_with("`mise.toml` in `"), "{problem:?}");
    git(&host, &["rm", "-q", "--cached", "mise.toml"]);
    commit(&host, "one file");
    assert_eq!(tools(&env, &daemon, from("HEAD", true)).await.as_deref(), Some(".tool-versions"));
    // One that is deleted on disk stays here.
    fs_err::remove_file(host.join(".tool-versions")).unwrap();
    assert_eq!(tools(&env, &daemon, asked(&host)).await, None);
    daemon.stop().await;
}

#[tokio::test]
async fn a_configured_way_out_is_one() {
    let mut env = TestEnv::new();
    env.config.vm_defaults.nat.value = true;
    let host = env.dir().join("repo");
    repository(&host);
    write(&host, ".mise.toml", "");
    commit(&host, "tools");
    let daemon = TestDaemon::start(&env).await;
    assert_eq!(tools(&env, &daemon, asked(&host)).await.as_deref(), Some(".mise.toml"));
    let off = CreateVm { nat: Some(false), ..asked(&host) };
    assert_eq!(create_fails(&daemon, off).await.code, Code::Conflict);
    daemon.stop().await;
}
