//! VMs that are stopped when nobody uses them.

use banger_proto::api::{
    ChangeCause, CreateVm, EndReason, ExecVm, StateName, VmCondition, VmView, WaitVm,
};
use banger_proto::{Code, Period};
use banger_testkit::{Boot, TestDaemon, TestEnv};
use hyper::Method;

use super::{create_fails, named, show};

/// A request for a VM that is stopped after a second, the shortest period.
fn short_lived(name: &str) -> CreateVm {
    CreateVm { idle_stop_seconds: Some(1), ..named(name) }
}

fn shell(script: &str) -> ExecVm {
    ExecVm { argv: ["sh", "-c", script].map(str::to_owned).to_vec(), ..Default::default() }
}

pub(super) async fn until_stopped(daemon: &TestDaemon, vm: &str) -> VmView {
    let asked = WaitVm { until: VmCondition::Stopped, timeout_seconds: Some(60) };
    daemon.client.call(Method::POST, &format!("/v1/vms/{vm}/wait"), asked).await.ok()
}

fn second() -> Period {
    1.try_into().expect("a period")
}

#[tokio::test]
async fn an_idle_vm_is_stopped_and_starts_again() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    env.world.next_boot(Boot::Quiet);
    env.world.next_boot(Boot::Busy);
    let vm = daemon.client.events("/v1/vms", short_lived("web")).await.ready().await;
    assert_eq!(vm.idle_stop_seconds, Some(second()));
    let stopped = until_stopped(&daemon, "web").await;
    assert_eq!(stopped.ended, Some(EndReason::Idle(second())));
    let history = show(&daemon, "web").await.history;
    let last: Vec<_> = history[history.len() - 2..].iter().map(|c| (c.state, c.cause)).collect();
    let idle = ChangeCause::Idle;
    assert_eq!(last, [(StateName::Stopping, idle), (StateName::Stopped, idle)]);

    let mut started = daemon.client.events("/v1/vms/web/start", serde_json::json!({})).await;
    started.ready().await;
    let (said, _) = daemon.client.exec("web", &shell("echo hi")).await.unwrap().finish().await;
    assert_eq!(said, "hi\n");
    daemon.stop().await;
}

#[tokio::test]
async fn a_command_holds_its_vm() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    env.world.next_boot(Boot::Quiet);
    daemon.client.events("/v1/vms", short_lived("web")).await.ready().await;
    // Longer than the period: would the VM go down, the command would not come to its end.
    let command = daemon.client.exec("web", &shell("sleep 2; echo done")).await.unwrap();
    let (said, exit) = command.finish().await;
    assert_eq!((said.as_str(), exit.code), ("done\n", Some(0)));
    assert_eq!(until_stopped(&daemon, "web").await.ended, Some(EndReason::Idle(second())));
    daemon.stop().await;
}

#[tokio::test]
async fn an_adopted_vm_is_stopped_too() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    env.world.next_boot(Boot::Quiet);
    daemon.client.events("/v1/vms", short_lived("web")).await.ready().await;
    daemon.stop().await;
    let daemon = TestDaemon::start(&env).await;
    assert_eq!(until_stopped(&daemon, "web").await.ended, Some(EndReason::Idle(second())));
    daemon.stop().await;
}

#[tokio::test]
async fn the_request_the_configuration_or_nobody_says_how_long() {
    let mut env = TestEnv::new();
    env.config.idle_stop_after.value = Period::try_from(1800).ok();
    let daemon = TestDaemon::start(&env).await;
    let made = async |asked: CreateVm| {
        let vm = daemon.client.events("/v1/vms", asked).await.ready().await;
        vm.idle_stop_seconds.map(Period::seconds)
    };
    assert_eq!(made(named("configured")).await, Some(1800));
    let own = |seconds, name| CreateVm { idle_stop_seconds: Some(seconds), ..named(name) };
    assert_eq!(made(own(7200, "own")).await, Some(7200));
    assert_eq!(made(own(0, "never")).await, None);
    // One that goes with its request is nobody else's to stop.
    let disposable = CreateVm { ephemeral: true, ..named("disposable") };
    let mut held = daemon.client.events("/v1/vms", disposable).await;
    assert_eq!(held.ready().await.idle_stop_seconds, None);
    drop(held);
    let refused = create_fails(&daemon, CreateVm { ephemeral: true, ..own(60, "both") }).await;
    assert_eq!(refused.code, Code::BadRequest);
    daemon.stop().await;
}
