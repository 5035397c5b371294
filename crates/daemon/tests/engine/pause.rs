//! VMs that stand still because somebody wants that.

use banger_proto::api::{
    ChangeCause, DaemonStatus, EndReason, ExecVm, StateName, StatsReport, VmView,
};
use banger_proto::supervisor::VmmExit;
use banger_proto::{Code, Problem};
use banger_testkit::{TestDaemon, TestEnv};
use hyper::Method;
use serde_json::json;

use super::{assert_nothing_left, create, delete, list, show, until};

fn echo() -> ExecVm {
    ExecVm { argv: ["echo", "hi"].map(str::to_owned).to_vec(), ..Default::default() }
}

async fn post(daemon: &TestDaemon, what: &str) -> VmView {
    daemon.client.call(Method::POST, &format!("/v1/vms/web/{what}"), ()).await.ok()
}

async fn refused(daemon: &TestDaemon, what: &str) -> Problem {
    daemon.client.call(Method::POST, &format!("/v1/vms/web/{what}"), ()).await.problem()
}

async fn says_hi(daemon: &TestDaemon) {
    let command = daemon.client.exec("web", &echo()).await.expect("a command");
    let (said, _) = command.finish().await;
    assert_eq!(said, "hi\n");
}

/// Looks at `web` in every way there is: what comes of its guest is absent or refused, at once.
pub(super) async fn look(daemon: &TestDaemon) {
    let client = &daemon.client;
    let state = show(daemon, "web").await.state;
    assert_eq!(list(daemon).await[0].state, state);
    for of_the_guest in ["health", "ping", "jobs"] {
        let path = format!("/v1/vms/web/{of_the_guest}");
        let refused = client.call(Method::GET, &path, ()).await.problem();
        assert_eq!(refused.code, Code::Conflict, "{refused:?}");
        let message = format!("VM `web` does not run: it is {}", state.as_str());
        assert_eq!(refused.message, message, "{of_the_guest}");
    }
    let stats: StatsReport =
        client.follow("/v1/stats?vm=web&interval_ms=100").await.next().await.expect("a report");
    assert_eq!((stats.vms[0].state, &stats.vms[0].guest), (state, &None));
    let logs = client.call(Method::GET, "/v1/vms/web/logs", ()).await;
    assert!(logs.status.is_success());
    let daemon: DaemonStatus = client.get("/v1/daemon").await;
    assert_eq!(daemon.vms_running, 0);
}

#[tokio::test]
async fn a_vm_stands_still_and_goes_on() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    let paused = post(&daemon, "pause").await;
    assert_eq!((paused.state, paused.paused_idle_seconds), (StateName::Paused, None));
    assert!(env.world.is_paused(&vm.id));
    // Its addresses are its own still.
    assert_eq!((paused.loopback, paused.address), (vm.loopback, vm.address));
    let refused = daemon.client.exec("web", &echo()).await.unwrap_err();
    assert_eq!(refused.message, "VM `web` does not run: it is paused");
    assert_eq!(refused.hints, ["banger vm resume web"]);
    look(&daemon).await;
    let ports = daemon.client.call(Method::GET, "/v1/vms/web/ports", ()).await.problem();
    assert_eq!(ports.code, Code::Conflict);
    // Once more is no work and no error.
    assert_eq!(post(&daemon, "pause").await.state, StateName::Paused);

    let resumed = post(&daemon, "resume").await;
    assert_eq!(resumed.state, StateName::Running);
    assert!(!env.world.is_paused(&vm.id));
    says_hi(&daemon).await;
    assert_eq!(post(&daemon, "resume").await.state, StateName::Running);
    let history = show(&daemon, "web").await.history;
    let last: Vec<_> = history[history.len() - 2..].iter().map(|c| (c.state, c.cause)).collect();
    let (pause, resume) = (ChangeCause::Pause, ChangeCause::Resume);
    assert_eq!(last, [(StateName::Paused, pause), (StateName::Running, resume)]);
    daemon.stop().await;
}

#[tokio::test]
async fn what_does_not_run_neither_stands_still_nor_goes_on() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    assert_eq!(refused(&daemon, "pause").await.code, Code::NotFound);
    create(&daemon, "web").await;
    post(&daemon, "stop").await;
    for verb in ["pause", "resume"] {
        let refused = refused(&daemon, verb).await;
        assert_eq!(
            (refused.code, &refused.causes[..]),
            (Code::Conflict, &["it does not run".to_owned()][..])
        );
        assert_eq!(refused.hints, ["banger vm start web"]);
    }
    assert_eq!(show(&daemon, "web").await.state, StateName::Stopped);
    daemon.stop().await;
}

#[tokio::test]
async fn a_vm_that_stands_still_is_started_stopped_killed_and_deleted() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    create(&daemon, "web").await;
    post(&daemon, "pause").await;
    let started = daemon.client.events("/v1/vms/web/start", json!({})).await.ready().await;
    assert_eq!(started.state, StateName::Running);
    says_hi(&daemon).await;
    assert_eq!(env.world.launches(), 1, "it has gone on");

    // Its guest powers off by itself, for which it has to go on.
    post(&daemon, "pause").await;
    let stopped = post(&daemon, "stop").await;
    assert_eq!((stopped.state, stopped.ended), (StateName::Stopped, Some(EndReason::PoweredOff)));
    daemon.client.events("/v1/vms/web/start", json!({})).await.ready().await;
    post(&daemon, "pause").await;
    assert_eq!(post(&daemon, "kill").await.ended, Some(EndReason::Killed));
    daemon.client.events("/v1/vms/web/start", json!({})).await.ready().await;
    post(&daemon, "pause").await;
    assert_eq!(delete(&daemon, "web").await.state, StateName::Paused);
    assert_nothing_left(&env, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn it_stands_still_whoever_is_the_daemon() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    post(&daemon, "pause").await;
    daemon.stop().await;
    let daemon = TestDaemon::start(&env).await;
    let adopted = show(&daemon, "web").await;
    assert_eq!((adopted.state, adopted.paused_idle_seconds), (StateName::Paused, None));
    assert_eq!(daemon.client.exec("web", &echo()).await.unwrap_err().code, Code::Conflict);
    look(&daemon).await;
    post(&daemon, "resume").await;
    says_hi(&daemon).await;

    // As a daemon leaves it that is killed between doing and recording: what the guest does counts where
    // it was to stand still, and what it was to do where it was to run.
    post(&daemon, "pause").await;
    daemon.kill().await;
    env.world.set_paused(&vm.id, false);
    let daemon = TestDaemon::start(&env).await;
    assert_eq!(show(&daemon, "web").await.state, StateName::Running);
    says_hi(&daemon).await;
    post(&daemon, "pause").await;
    post(&daemon, "resume").await;
    daemon.kill().await;
    env.world.set_paused(&vm.id, true);
    let daemon = TestDaemon::start(&env).await;
    assert_eq!(show(&daemon, "web").await.state, StateName::Running);
    says_hi(&daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_vmm_that_ends_is_noticed_while_its_guest_stands_still() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    post(&daemon, "pause").await;
    let exit = VmmExit { code: None, signal: Some(11), killed: false, stderr: String::new() };
    env.world.end(&vm.id, exit.clone());
    let stopped = until(&daemon, "web", |vm| vm.state == StateName::Stopped).await;
    let how = "the VMM was ended by signal 11".to_owned();
    assert_eq!(stopped.ended, Some(EndReason::Failed(how)));
    daemon.client.events("/v1/vms/web/start", json!({})).await.ready().await;

    // At the same time: whichever comes first, it is down in the end.
    env.world.end(&vm.id, exit);
    daemon.client.call(Method::POST, "/v1/vms/web/pause", ()).await;
    until(&daemon, "web", |vm| vm.state == StateName::Stopped).await;
    assert_eq!(env.world.running(), []);
    daemon.stop().await;
}
