//! VMs that start with the host: once, by the first daemon after its boot.

use banger_proto::api::{CreateVm, SetVm, StateName};
use banger_testkit::{Boot, TestDaemon, TestEnv};
use hyper::Method;

use super::{create_fails, named, show, until};

fn with_host(name: &str) -> CreateVm {
    CreateVm { autostart: true, ..named(name) }
}

/// As if the host had been started anew since a daemon was there last.
fn reboot(env: &TestEnv) {
    fs_err::write(env.paths.state_dir.join("boot-id"), "another boot\n").expect("a note");
}

async fn stop(daemon: &TestDaemon, name: &str) {
    let stopped = daemon.client.call(Method::POST, &format!("/v1/vms/{name}/stop"), ()).await;
    assert_eq!(stopped.status, 200);
}

#[tokio::test]
async fn once_after_each_boot() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    for asked in [with_host("with"), named("without"), with_host("not-any-more")] {
        daemon.client.events("/v1/vms", asked).await.ready().await;
    }
    assert!(show(&daemon, "with").await.autostart);
    let off = SetVm { autostart: Some(false), ..SetVm::default() };
    let set = daemon.client.call(Method::PATCH, "/v1/vms/not-any-more", off).await;
    assert_eq!(set.status, 200);
    for name in ["with", "without", "not-any-more"] {
        stop(&daemon, name).await;
    }
    daemon.stop().await;
    // The same boot: what was stopped stays so.
    let daemon = TestDaemon::start(&env).await;
    assert_eq!(show(&daemon, "with").await.state, StateName::Stopped);
    daemon.stop().await;

    reboot(&env);
    let daemon = TestDaemon::start(&env).await;
    env.world.launched(4).await;
    for name in ["without", "not-any-more"] {
        assert_eq!(show(&daemon, name).await.state, StateName::Stopped);
    }
    until(&daemon, "with", |vm| vm.state == StateName::Running).await;
    stop(&daemon, "with").await;
    daemon.stop().await;
    let daemon = TestDaemon::start(&env).await;
    assert_eq!(show(&daemon, "with").await.state, StateName::Stopped);
    daemon.stop().await;
}

#[tokio::test]
async fn one_that_does_not_start_keeps_why() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    daemon.client.events("/v1/vms", with_host("web")).await.ready().await;
    stop(&daemon, "web").await;
    daemon.stop().await;
    reboot(&env);
    env.world.next_boot(Boot::Refused("no room".to_owned()));
    let daemon = TestDaemon::start(&env).await;
    let vm = until(&daemon, "web", |vm| vm.state == StateName::Error).await;
    let problem = serde_json::to_string(&vm.problem).unwrap();
    assert!(problem.contains("no room"), "{problem}");
    daemon.stop().await;
}

#[tokio::test]
async fn what_goes_with_its_request_cannot() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let asked = CreateVm { ephemeral: true, ..with_host("web") };
    let problem = create_fails(&daemon, asked).await;
    assert!(problem.message.contains("autostart"), "{problem}");
    daemon.stop().await;
}
