//! The verbs of a VM's life beyond start and stop: kill, restart, wait, and deleting what is down.

use banger_proto::api::{
    DaemonStatus, EndReason, Event, RestartVm, Stage, StateName, StopVm, VmCondition, VmView,
    WaitVm,
};
use banger_proto::supervisor::VmmExit;
use banger_proto::{Code, Problem};
use banger_testkit::{Boot, Events, TestDaemon, TestEnv};
use hyper::Method;

use super::{assert_nothing_left, create, create_fails, delete, in_time, list, named, show, until};

/// More than a test would wait.
const FOR_EVER: Option<u32> = Some(1_000_000);

async fn kill(daemon: &TestDaemon, vm: &str) -> VmView {
    daemon.client.call(Method::POST, &format!("/v1/vms/{vm}/kill"), ()).await.ok()
}

async fn stop(daemon: &TestDaemon, vm: &str) -> VmView {
    daemon.client.call(Method::POST, &format!("/v1/vms/{vm}/stop"), ()).await.ok()
}

async fn wait(daemon: &TestDaemon, until: VmCondition) -> Result<VmView, Problem> {
    let asked = WaitVm { until, timeout_seconds: None };
    let answer = daemon.client.call(Method::POST, "/v1/vms/web/wait", asked).await;
    if answer.status.is_success() { Ok(answer.ok()) } else { Err(answer.problem()) }
}

/// Until so many requests are under way.
async fn until_busy(daemon: &TestDaemon, requests: u32) {
    let busy = async || daemon.client.get::<DaemonStatus>("/v1/daemon").await.busy;
    in_time(async { while busy().await != requests {} }).await;
}

async fn stage_started(events: &mut Events, wanted: Stage) {
    let started =
        |event: &Event| matches!(event, Event::StageStarted { stage } if *stage == wanted);
    events.find(|event| started(event).then_some(())).await;
}

/// The stages of a request that ends with a VM that is ready.
async fn stages_until_ready(events: &mut Events) -> Vec<Stage> {
    let mut stages = Vec::new();
    events
        .find(|event| match event {
            Event::StageFinished { stage, .. } => {
                stages.push(*stage);
                None
            }
            Event::VmReady { .. } => Some(()),
            Event::Failed { problem } => panic!("{problem:#?}"),
            _ => None,
        })
        .await;
    stages
}

#[tokio::test]
async fn a_kill_waits_for_nobodys_grace() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    env.world.next_boot(Boot::Stubborn);
    create(&daemon, "web").await;
    let asked = StopVm { grace_seconds: FOR_EVER };
    let stopped = daemon.client.call(Method::POST, "/v1/vms/web/stop", asked);
    let killed = async {
        until(&daemon, "web", |vm| vm.state == StateName::Stopping).await;
        kill(&daemon, "web").await
    };
    let (stopped, killed) = tokio::join!(stopped, killed);
    for vm in [stopped.ok::<VmView>(), killed] {
        assert_eq!((vm.state, vm.ended), (StateName::Stopped, Some(EndReason::Killed)));
    }
    assert_eq!(env.world.running(), []);
    // Once more is no work and no error, and its disk is still there.
    assert_eq!(kill(&daemon, "web").await.state, StateName::Stopped);
    daemon.client.events("/v1/vms/web/start", ()).await.ready().await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_kill_cuts_a_start_short_and_not_a_creation() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    create(&daemon, "web").await;
    stop(&daemon, "web").await;
    env.world.next_boot(Boot::Silent(String::new()));
    let mut events = daemon.client.events("/v1/vms/web/start", ()).await;
    env.world.launched(2).await;
    let killed = kill(&daemon, "web").await;
    assert_eq!((killed.state, killed.ended), (StateName::Stopped, Some(EndReason::Killed)));
    assert_eq!(events.failed().await.code, Code::Cancelled);

    env.world.next_boot(Boot::Silent(String::new()));
    let _events = daemon.client.events("/v1/vms", named("other")).await;
    env.world.launched(3).await;
    let refused = daemon.client.call(Method::POST, "/v1/vms/other/kill", ()).await.problem();
    assert_eq!((refused.code, &*refused.causes[0]), (Code::Conflict, "it is still being made"));
    daemon.stop().await;
}

#[tokio::test]
async fn a_restart_shuts_down_and_boots() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    let mut events = daemon.client.events("/v1/vms/web/restart", ()).await;
    let boot = [Stage::Image, Stage::Kernel, Stage::Boot, Stage::Configure];
    let stages = stages_until_ready(&mut events).await;
    assert_eq!((stages[0], &stages[1..]), (Stage::Stop, &boot[..]));
    let again = show(&daemon, "web").await;
    assert_eq!((again.state, &again.id), (StateName::Running, &vm.id));
    assert_ne!(again.started_at, vm.started_at);

    // What is down already is booted, and that is all.
    stop(&daemon, "web").await;
    let mut events = daemon.client.events("/v1/vms/web/restart", ()).await;
    assert_eq!(stages_until_ready(&mut events).await, boot);
    daemon.stop().await;
}

#[tokio::test]
async fn a_restart_goes_on_without_its_client() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    env.world.next_boot(Boot::Stubborn);
    let vm = create(&daemon, "web").await;
    let asked = RestartVm { grace_seconds: FOR_EVER, ..Default::default() };
    let mut events = daemon.client.events("/v1/vms/web/restart", asked).await;
    stage_started(&mut events, Stage::Stop).await;
    drop(events);
    until_busy(&daemon, 0).await;
    let exit = VmmExit { code: Some(0), signal: None, killed: false, stderr: String::new() };
    env.world.end(&vm.id, exit);
    assert_eq!(wait(&daemon, VmCondition::Ready).await.unwrap().state, StateName::Running);
    env.world.launched(2).await;
    daemon.stop().await;
}

#[tokio::test]
async fn who_asks_later_wins_over_a_restart() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    env.world.next_boot(Boot::Stubborn);
    create(&daemon, "web").await;
    let asked = RestartVm { grace_seconds: FOR_EVER, ..Default::default() };
    let mut events = daemon.client.events("/v1/vms/web/restart", asked).await;
    stage_started(&mut events, Stage::Stop).await;
    kill(&daemon, "web").await;
    let problem = events.failed().await;
    assert_eq!(problem.code, Code::Conflict);
    assert_eq!(problem.causes, ["it was asked to be down in the meantime"]);
    assert_eq!(show(&daemon, "web").await.state, StateName::Stopped);
    assert_eq!(env.world.running(), []);
    daemon.stop().await;
}

#[tokio::test]
async fn waiting_ends_with_what_was_waited_for() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    create(&daemon, "web").await;
    assert_eq!(wait(&daemon, VmCondition::Ready).await.unwrap().state, StateName::Running);
    assert_eq!(wait(&daemon, VmCondition::System).await.unwrap().state, StateName::Running);
    let stopping = async {
        until_busy(&daemon, 1).await;
        stop(&daemon, "web").await
    };
    let (waited, _) = tokio::join!(wait(&daemon, VmCondition::Stopped), stopping);
    assert_eq!(waited.unwrap().ended, Some(EndReason::PoweredOff));
    // One that is down can still become ready.
    let starting = async {
        until_busy(&daemon, 1).await;
        daemon.client.events("/v1/vms/web/start", ()).await.ready().await
    };
    let (waited, _) = tokio::join!(wait(&daemon, VmCondition::Ready), starting);
    assert_eq!(waited.unwrap().state, StateName::Running);
    let deleting = async {
        until_busy(&daemon, 1).await;
        delete(&daemon, "web").await
    };
    let (waited, _) = tokio::join!(wait(&daemon, VmCondition::Deleted), deleting);
    assert_eq!(waited.unwrap().name.as_str(), "web");
    assert_nothing_left(&env, &daemon).await;
    assert_eq!(wait(&daemon, VmCondition::Deleted).await.unwrap_err().code, Code::NotFound);
    daemon.stop().await;
}

#[tokio::test]
async fn waiting_ends_when_it_is_in_vain() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    create(&daemon, "web").await;
    stop(&daemon, "web").await;
    let asked = WaitVm { until: VmCondition::Ready, timeout_seconds: Some(0) };
    let late = daemon.client.call(Method::POST, "/v1/vms/web/wait", asked).await.problem();
    assert_eq!(late.code, Code::Timeout);
    assert_eq!(late.message, "VM `web` is not ready after 0 s: it is stopped");
    assert_eq!(late.hints, ["banger vm start web"]);

    let deleting = async {
        until_busy(&daemon, 1).await;
        delete(&daemon, "web").await
    };
    let (waited, _) = tokio::join!(wait(&daemon, VmCondition::Ready), deleting);
    assert_eq!(waited.unwrap_err().message, "VM `web` was deleted");

    let exit = VmmExit { code: Some(1), signal: None, killed: false, stderr: String::new() };
    env.world.next_boot(Boot::Dies { exit, console: String::new() });
    create_fails(&daemon, named("web")).await;
    let error = wait(&daemon, VmCondition::Ready).await.unwrap_err();
    assert_eq!(error.message, "VM `web` is in error: VM `web` ended before it was ready");
    // It is down, however that came.
    assert_eq!(wait(&daemon, VmCondition::Stopped).await.unwrap().state, StateName::Error);

    // Neither does it keep a daemon from ending.
    let ending = async {
        until_busy(&daemon, 1).await;
        daemon.client.call(Method::POST, "/v1/daemon/stop", ()).await
    };
    let (waited, _) = tokio::join!(wait(&daemon, VmCondition::Deleted), ending);
    assert_eq!(waited.unwrap_err().code, Code::Cancelled);
    daemon.ended().await;
}

#[tokio::test]
async fn who_stops_waiting_leaves_nothing() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    create(&daemon, "web").await;
    tokio::select! {
        waited = wait(&daemon, VmCondition::Stopped) => panic!("{waited:?}"),
        () = until_busy(&daemon, 1) => {}
    }
    until_busy(&daemon, 0).await;
    daemon.stop().await;
}

#[tokio::test]
async fn only_what_is_down_goes_when_that_is_asked() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    create(&daemon, "web").await;
    let prune = async || daemon.client.call(Method::DELETE, "/v1/vms/web?only_down=true", ()).await;
    let refused = prune().await.problem();
    assert_eq!((refused.code, &*refused.causes[0]), (Code::Conflict, "it is not down any more"));
    assert_eq!(show(&daemon, "web").await.state, StateName::Running);
    stop(&daemon, "web").await;
    // Somebody starts it just now.
    env.world.next_boot(Boot::Silent(String::new()));
    let events = daemon.client.events("/v1/vms/web/start", ()).await;
    env.world.launched(2).await;
    assert_eq!(prune().await.problem().code, Code::Conflict);
    drop(events);
    until(&daemon, "web", |vm| vm.state == StateName::Stopped).await;
    assert_eq!(list(&daemon).await.len(), 1);
    assert_eq!(prune().await.ok::<VmView>().state, StateName::Stopped);
    assert_nothing_left(&env, &daemon).await;
    daemon.stop().await;
}
