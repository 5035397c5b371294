//! What a new daemon makes of what an earlier one left.

use banger_proto::api::{CreateVm, EndReason, ExecVm, StateName};
use banger_proto::supervisor::VmmExit;
use banger_testkit::{Boot, TestDaemon, TestEnv};

use super::{assert_nothing_left, create, delete, list, named, show};

fn echo() -> ExecVm {
    ExecVm { argv: ["echo", "hi"].map(str::to_owned).to_vec(), ..Default::default() }
}

#[tokio::test]
async fn running_vms_are_adopted_and_dead_ones_are_stopped() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let alive = create(&daemon, "alive").await;
    let dead = create(&daemon, "dead").await;
    let lost = create(&daemon, "lost").await;
    let damaged = create(&daemon, "damaged").await;
    daemon.kill().await;
    env.world.damage(&damaged.id, "its state file is damaged");
    // A console log that is gone is an empty one.
    fs_err::remove_file(&damaged.console_log).unwrap();
    let exit = VmmExit { code: Some(0), signal: None, killed: false, stderr: String::new() };
    env.world.end(&dead.id, exit);
    env.world.lose(&lost.id);

    let daemon = TestDaemon::start(&env).await;
    assert_eq!(show(&daemon, "alive").await.state, StateName::Running);
    let (stdout, _) = daemon.client.exec("alive", &echo()).await.unwrap().finish().await;
    assert_eq!(stdout, "hi\n");
    assert_eq!(show(&daemon, "dead").await.ended, Some(EndReason::PoweredOff));
    assert_eq!(show(&daemon, "lost").await.ended, Some(EndReason::Lost));
    let untold = EndReason::Untold("its state file is damaged".into());
    assert_eq!(show(&daemon, "damaged").await.ended, Some(untold));
    let console = daemon.client.call(hyper::Method::GET, "/v1/vms/damaged/logs", ()).await;
    assert_eq!((console.status.as_u16(), console.body.as_ref()), (200, &b""[..]));
    daemon.client.events("/v1/vms/damaged/start", ()).await.ready().await;
    daemon.client.call(hyper::Method::POST, "/v1/vms/damaged/stop", ()).await;
    assert_eq!(env.world.running(), [alive.id]);
    // What was adopted is owned like what was made.
    for name in ["alive", "damaged", "dead", "lost"] {
        delete(&daemon, name).await;
    }
    assert_nothing_left(&env, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_stopped_daemon_leaves_vms_running_and_takes_back_what_is_under_way() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    env.world.next_boot(Boot::Silent(String::new()));
    let mut unfinished = daemon.client.events("/v1/vms", named("unfinished")).await;
    env.world.launched(2).await;
    let ephemeral = CreateVm { ephemeral: true, ..named("ephemeral") };
    let mut ephemeral = daemon.client.events("/v1/vms", ephemeral).await;
    ephemeral.ready().await;
    daemon.stop().await;
    unfinished.failed().await;
    assert_eq!(ephemeral.next().await, None);
    assert_eq!(env.world.running(), std::slice::from_ref(&vm.id));
    let daemon = TestDaemon::start(&env).await;
    let names: Vec<_> = list(&daemon).await.into_iter().map(|vm| vm.name.to_string()).collect();
    assert_eq!(names, ["web"]);
    daemon.stop().await;
}

#[tokio::test]
async fn what_a_killed_daemon_left_unfinished_goes() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let ephemeral = CreateVm { ephemeral: true, ..named("ephemeral") };
    let mut ephemeral = daemon.client.events("/v1/vms", ephemeral).await;
    ephemeral.ready().await;
    for (launch, boot) in (2..).zip([Boot::Hangs, Boot::Silent(String::new())]) {
        env.world.next_boot(boot);
        let _events = daemon.client.events("/v1/vms", named(&format!("half-{launch}"))).await;
        // Kept open until the daemon is killed: it must not take it back by itself.
        std::mem::forget(_events);
        env.world.launched(launch).await;
    }
    daemon.kill().await;
    assert_eq!(env.world.running().len(), 2);
    let daemon = TestDaemon::start(&env).await;
    assert_nothing_left(&env, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_start_cut_by_a_kill_leaves_a_stopped_vm() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    create(&daemon, "web").await;
    daemon.client.call(hyper::Method::POST, "/v1/vms/web/stop", ()).await;
    env.world.next_boot(Boot::Silent(String::new()));
    let events = daemon.client.events("/v1/vms/web/start", ()).await;
    env.world.launched(2).await;
    daemon.kill().await;
    drop(events);
    let daemon = TestDaemon::start(&env).await;
    assert_eq!(show(&daemon, "web").await.state, StateName::Stopped);
    assert_eq!(env.world.running(), []);
    daemon.client.events("/v1/vms/web/start", ()).await.ready().await;
    daemon.stop().await;
}
