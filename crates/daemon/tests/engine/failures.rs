//! What is left when something fails: nothing before the VMM ran, the VM with its reason after.

use std::time::Duration;

use banger_proto::api::{CreateVm, Event, StateName};
use banger_proto::supervisor::VmmExit;
use banger_proto::{ByteSize, Code, Problem};
use banger_testkit::{Boot, TestDaemon, TestEnv};
use hyper::{Method, StatusCode};

use super::{assert_nothing_left, create, create_fails, delete, named, show, until, until_none};

#[tokio::test]
async fn refusals_and_failures_before_the_vmm_leave_nothing() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let unknown_image = CreateVm { image: Some("nope".into()), ..named("web") };
    assert!(create_fails(&daemon, unknown_image).await.message.contains("`nope`"));
    let unknown_kernel = CreateVm { kernel: Some("nope".into()), ..named("web") };
    assert!(create_fails(&daemon, unknown_kernel).await.message.contains("`nope`"));
    let little = CreateVm { memory: Some(ByteSize::from_mib(1)), ..named("web") };
    let problem = create_fails(&daemon, little).await;
    assert_eq!(problem.code, Code::BadRequest);
    assert_eq!(problem.message, "memory of `1M` is too small for a VM: at least 128M is needed");
    env.world.next_boot(Boot::Refused("`qemu` was not found".into()));
    let problem = create_fails(&daemon, named("web")).await;
    assert_eq!(problem.message, "cannot start VM `web`");
    assert_eq!(problem.causes, ["`qemu` was not found"]);
    assert!(problem.hints[0].ends_with("banger doctor"), "{problem:?}");
    assert!(problem.op_id.is_some());
    assert_nothing_left(&env, &daemon).await;
    // The name is free.
    create(&daemon, "web").await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_bad_name_leaves_no_row() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    for name in ["Web", "-a", "", "a.b", &"x".repeat(64)] {
        let asked = serde_json::json!({ "name": name });
        let answer = daemon.client.call(Method::POST, "/v1/vms", asked).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{name}");
        let problem = answer.problem();
        assert_eq!(problem.code, Code::BadRequest);
        assert!(problem.causes[0].contains("VM name"), "{problem:?}");
    }
    assert_nothing_left(&env, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_workspace_that_cannot_travel_is_refused_first() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let path = env.dir().display().to_string();
    let workspace = serde_json::json!({ "name": "web", "workspace": { "path": path } });
    let problem = daemon.client.events("/v1/vms", workspace).await.failed().await;
    assert_eq!(problem.code, Code::BadRequest);
    assert_nothing_left(&env, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_vmm_that_the_kernel_ends_may_mean_that_memory_is_over() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    for (killed, told) in [(false, true), (true, false)] {
        let exit = VmmExit { code: None, signal: Some(9), killed, stderr: String::new() };
        env.world.next_boot(Boot::Dies { exit, console: String::new() });
        let asked = CreateVm { name: Some(format!("web-{told}").parse().unwrap()), ..named("web") };
        let problem = create_fails(&daemon, asked).await;
        let memory = |hint: &String| hint.contains("banger vm set --memory SIZE web-true");
        assert_eq!(problem.hints.iter().any(memory), told, "{problem:?}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_vmm_that_dies_is_told_at_once_and_kept() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let exit = VmmExit { code: Some(1), signal: None, killed: false, stderr: "boom\n".into() };
    let console = "booting\n\x1b[31mKernel panic\x1b[0m - \x07not syncing\n".to_owned();
    env.world.next_boot(Boot::Dies { exit, console });
    let problem = create_fails(&daemon, CreateVm { ephemeral: true, ..named("web") }).await;
    assert_eq!(problem.message, "VM `web` ended before it was ready");
    assert_eq!(
        problem.causes,
        [
            "the VMM exited with code 1: boom",
            "its console ended with:\nbooting\nKernel panic - \u{fffd}not syncing",
        ]
    );
    assert_eq!(
        problem.hints,
        [
            "the VM is kept; read its whole console: banger vm logs web",
            "delete it: banger vm delete web",
        ]
    );
    let vm = show(&daemon, "web").await;
    // Not even an ephemeral one goes: why it failed can still be found out.
    assert_eq!((vm.state, vm.ephemeral), (StateName::Error, false));
    assert_eq!(vm.problem.unwrap().message, problem.message);
    // Its next start may go better.
    daemon.client.events("/v1/vms/web/start", ()).await.ready().await;
    delete(&daemon, "web").await;
    assert_nothing_left(&env, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_guest_that_never_calls_is_given_up_and_kept() {
    let mut env = TestEnv::new();
    env.config.ready_timeout.value = Duration::from_millis(50);
    let daemon = TestDaemon::start(&env).await;
    env.world.next_boot(Boot::Silent("waiting for root device\n".into()));
    let problem = create_fails(&daemon, named("web")).await;
    assert_eq!(problem.code, Code::Timeout);
    assert_eq!(problem.message, "VM `web` was not ready after 0 s");
    assert_eq!(problem.causes, ["its console ended with:\nwaiting for root device"]);
    assert_eq!(show(&daemon, "web").await.state, StateName::Error);
    assert_eq!(env.world.running(), [], "nothing runs in state error");
    daemon.stop().await;
}

#[tokio::test]
async fn an_agent_that_refuses_its_configuration_is_quoted() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let refusal = Problem::new(Code::OperationFailed, "cannot mount `/dev/vdb`");
    env.world.next_boot(Boot::Unconfigurable(refusal));
    let problem = create_fails(&daemon, named("web")).await;
    assert_eq!(problem.message, "cannot configure VM `web`");
    assert!(problem.causes[0].contains("cannot mount `/dev/vdb`"), "{problem:?}");
    assert_eq!(show(&daemon, "web").await.state, StateName::Error);
    daemon.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_creation_back() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    for (launch, boot) in (1..).zip([Boot::Hangs, Boot::Silent(String::new())]) {
        env.world.next_boot(boot);
        let events = daemon.client.events("/v1/vms", named("web")).await;
        env.world.launched(launch).await;
        assert_eq!(show(&daemon, "web").await.state, StateName::Booting);
        drop(events);
        until_none(&daemon).await;
        assert_nothing_left(&env, &daemon).await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_deletion_cuts_a_creation_short() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    env.world.next_boot(Boot::Silent(String::new()));
    let mut events = daemon.client.events("/v1/vms", named("web")).await;
    env.world.launched(1).await;
    let stop = daemon.client.call(Method::POST, "/v1/vms/web/stop", ()).await.problem();
    assert_eq!(stop.code, Code::Conflict);
    assert_eq!(stop.causes, ["it is still being made"]);
    delete(&daemon, "web").await;
    assert_eq!(events.failed().await.code, Code::Cancelled);
    assert_nothing_left(&env, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_start_that_is_taken_back_leaves_a_stopped_vm() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    create(&daemon, "web").await;
    daemon.client.call(Method::POST, "/v1/vms/web/stop", ()).await;
    env.world.next_boot(Boot::Silent(String::new()));
    let mut events = daemon.client.events("/v1/vms/web/start", ()).await;
    events.find(|event| matches!(event, Event::StageStarted { .. }).then_some(())).await;
    env.world.launched(2).await;
    drop(events);
    until(&daemon, "web", |vm| vm.state == StateName::Stopped).await;
    assert_eq!(env.world.running(), []);
    daemon.client.events("/v1/vms/web/start", ()).await.ready().await;
    daemon.stop().await;
}
