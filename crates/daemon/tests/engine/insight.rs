//! Looking at VMs: signs of life, health, numbers, and what happens.

use banger_proto::Code;
use banger_proto::api::{
    CreateVm, DaemonStatus, EndReason, ExecVm, Pong, StateName, StatsReport, VmEvent, VmHealth,
    VmView,
};
use banger_proto::guest::{InitKind, InitState};
use banger_testkit::{Boot, Lines, TestDaemon, TestEnv};
use hyper::Method;

use super::{create, create_fails, delete, in_time, named, until};

async fn stop(daemon: &TestDaemon, vm: &str) {
    let stopped = daemon.client.call(Method::POST, &format!("/v1/vms/{vm}/stop"), ()).await;
    assert_eq!(stopped.ok::<VmView>().state, StateName::Stopped);
}

#[tokio::test]
async fn an_agent_that_runs_answers() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    let pong: Pong = daemon.client.get("/v1/vms/web/ping").await;
    assert_eq!((pong.id, pong.name.as_str()), (vm.id, "web"));
    assert_eq!(pong.agent_version, env!("CARGO_PKG_VERSION"));
    assert!(pong.micros > 0);

    stop(&daemon, "web").await;
    for call in ["ping", "health"] {
        let problem = daemon.client.call(Method::GET, &format!("/v1/vms/web/{call}"), ()).await;
        let problem = problem.problem();
        assert_eq!(problem.code, Code::Conflict);
        assert_eq!(problem.message, "VM `web` does not run: it is stopped");
        assert_eq!(problem.hints, ["banger vm start web"]);
    }
    let unknown = daemon.client.call(Method::GET, "/v1/vms/wbe/ping", ()).await.problem();
    assert_eq!(unknown.code, Code::NotFound);
    daemon.stop().await;
}

#[tokio::test]
async fn a_guest_tells_how_it_is() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    create(&daemon, "web").await;
    let argv = ["sleep", "1000000"].map(str::to_owned).to_vec();
    let request = ExecVm { argv, stdin: true, ..Default::default() };
    let _command = daemon.client.exec("web", &request).await.unwrap();
    let health: VmHealth = daemon.client.get("/v1/vms/web/health").await;
    assert!(health.healthy);
    assert_eq!((health.init, health.state), (Some(InitKind::Agent), InitState::Running));
    assert_eq!((health.commands, health.system), (1, None));
    let (memory, disk) = (health.memory.unwrap(), health.disk.unwrap());
    assert!(memory.used.bytes() > 0 && memory.used < memory.total, "{memory:?}");
    assert!(disk.used <= disk.total && disk.total.bytes() > 0, "{disk:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn an_agent_that_does_not_answer_in_time_is_told() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    env.world.next_boot(Boot::FallsSilent);
    create(&daemon, "web").await;
    for call in ["ping", "health"] {
        let path = format!("/v1/vms/web/{call}?timeout_ms=10");
        let problem = daemon.client.call(Method::GET, &path, ()).await.problem();
        assert_eq!(problem.code, Code::Timeout);
        assert_eq!(problem.message, "the agent of VM `web` does not answer");
        assert!(problem.hints[0].contains("banger vm logs web"), "{problem:?}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn an_agent_that_is_gone_is_shown_so() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    env.world.next_boot(Boot::FallsSilent);
    create(&daemon, "web").await;
    let gone = |vm: &VmView| vm.guest.as_ref().is_some_and(|guest| guest.agent_gone);
    let vm = until(&daemon, "web", gone).await;
    // The VM goes on, and what its agent said last is kept.
    assert_eq!((vm.state, vm.guest.unwrap().init), (StateName::Running, InitKind::Agent));
    daemon.stop().await;
}

#[tokio::test]
async fn numbers_of_those_that_run_and_what_is_known_of_the_others() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let running = create(&daemon, "web").await;
    daemon
        .client
        .events("/v1/vms", &CreateVm { no_start: true, ..named("db") })
        .await
        .ready()
        .await;

    let report: StatsReport = daemon.client.get("/v1/stats?interval_ms=100").await;
    assert!(report.interval_ms >= 100, "{report:?}");
    let [web, db] = &report.vms[..] else { panic!("{report:?}") };
    assert_eq!((&web.id, web.state), (&running.id, StateName::Running));
    let host = web.host.as_ref().unwrap();
    // In this world every process is this one.
    assert_eq!(host.vmm.pid, std::process::id());
    assert!(host.vmm.rss.bytes() > 1 << 20 && host.vmm.cpu_percent.is_some(), "{host:?}");
    let guest = web.guest.as_ref().unwrap();
    assert!(guest.cpus > 0 && guest.cpu_ms > 0 && guest.cpu_percent.is_some(), "{guest:?}");
    assert_eq!((db.name.as_str(), db.state), ("db", StateName::Stopped));
    assert_eq!((&db.host, &db.guest), (&None, &None));
    assert_eq!((db.memory, db.disk.total), (running.memory, running.disk_size));

    let one: StatsReport = daemon.client.get("/v1/stats?interval_ms=100&vms=db").await;
    assert_eq!(one.vms.iter().map(|vm| vm.name.as_str()).collect::<Vec<_>>(), ["db"]);
    let problem = |path: &'static str| async {
        daemon.client.call(Method::GET, path, ()).await.problem().code
    };
    assert_eq!(problem("/v1/stats?vms=db,nope").await, Code::NotFound);
    assert_eq!(problem("/v1/stats?interval_ms=1").await, Code::BadRequest);
    daemon.stop().await;
}

#[tokio::test]
async fn numbers_go_on_and_follow_the_vms() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let busy = async || daemon.client.get::<DaemonStatus>("/v1/daemon").await.busy;
    let mut reports: Lines<StatsReport> =
        daemon.client.follow("/v1/stats?interval_ms=100&follow=true").await;
    // Following makes nobody busy; a single report is owed to who asked for it.
    assert_eq!(busy().await, 0);
    let one: Lines<StatsReport> = daemon.client.follow("/v1/stats?interval_ms=3600000").await;
    assert_eq!(busy().await, 1);
    drop(one);
    create(&daemon, "web").await;
    let count =
        |wanted: usize| move |report: &StatsReport| (report.vms.len() == wanted).then_some(());
    reports.find(count(1)).await;
    create(&daemon, "db").await;
    reports.find(count(2)).await;
    delete(&daemon, "web").await;
    delete(&daemon, "db").await;
    reports.find(count(0)).await;
    daemon.stop().await;
    in_time(async { while reports.next().await.is_some() {} }).await;
}

/// The states that a VM comes to be in, up to `last`.
async fn states(events: &mut Lines<VmEvent>, vm: &str, last: StateName) -> Vec<StateName> {
    let mut states = Vec::new();
    while states.last() != Some(&last) {
        match events.next().await.expect("another event") {
            VmEvent::State { name, state, .. } if name.as_str() == vm => states.push(state),
            _ => {}
        }
    }
    states.dedup();
    states
}

#[tokio::test]
async fn a_life_in_events() {
    use StateName::{Booting, Created, Preparing, Running, Stopped, Stopping};

    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let mut events: Lines<VmEvent> = daemon.client.follow("/v1/events").await;
    let Some(VmEvent::Position { seq: start }) = events.next().await else { panic!() };
    // Listening makes nobody busy.
    assert_eq!(daemon.client.get::<DaemonStatus>("/v1/daemon").await.busy, 0);

    let vm = create(&daemon, "web").await;
    let born = states(&mut events, "web", Running).await;
    assert_eq!(born, [Created, Preparing, Booting, Running]);
    stop(&daemon, "web").await;
    let ended = events
        .find(|event| match event {
            VmEvent::State { state: Stopped, ended, .. } => Some(ended.clone()),
            _ => None,
        })
        .await;
    assert_eq!(ended, Some(EndReason::PoweredOff));
    delete(&daemon, "web").await;
    let gone = events
        .find(|event| match event {
            VmEvent::Deleted { seq, vm, .. } => Some((*seq, vm.clone())),
            _ => None,
        })
        .await;
    assert_eq!(gone.1, vm.id);

    // Whoever comes back gets the rest, every number once.
    let known = start + 2;
    let mut again: Lines<VmEvent> =
        daemon.client.follow(&format!("/v1/events?since={known}")).await;
    assert_eq!(again.next().await, Some(VmEvent::Position { seq: known }));
    for seq in known + 1..=gone.0 {
        assert_eq!(again.next().await.map(|event| event.seq()), Some(seq));
    }
    let mut all: Lines<VmEvent> = daemon.client.follow(&format!("/v1/events?since={start}")).await;
    assert_eq!(
        states(&mut all, "web", Stopping).await,
        [Created, Preparing, Booting, Running, Stopping]
    );

    // The streams end with the daemon, and the next one does not know the old numbers.
    daemon.stop().await;
    in_time(async { while again.next().await.is_some() {} }).await;
    let daemon = TestDaemon::start(&env).await;
    let mut later: Lines<VmEvent> =
        daemon.client.follow(&format!("/v1/events?since={}", gone.0)).await;
    let Some(VmEvent::Missed { seq }) = later.next().await else { panic!() };
    assert!(seq > gone.0);
    create(&daemon, "web").await;
    assert_eq!(later.next().await.map(|event| event.seq()), Some(seq + 1));
    daemon.stop().await;
}

#[tokio::test]
async fn what_went_wrong_is_in_the_events() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let mut events: Lines<VmEvent> = daemon.client.follow("/v1/events").await;
    env.world.next_boot(Boot::Refused("no VMM today".into()));
    create_fails(&daemon, named("never")).await;
    // It was undone: there is nothing to look at.
    events.find(|event| matches!(event, VmEvent::Deleted { .. }).then_some(())).await;
    let exit = banger_proto::supervisor::VmmExit {
        code: Some(1),
        signal: None,
        killed: false,
        stderr: String::new(),
    };
    env.world.next_boot(Boot::Dies { exit, console: "panic\n".into() });
    create_fails(&daemon, named("dies")).await;
    let problem = events
        .find(|event| match event {
            VmEvent::State { state: StateName::Error, problem, .. } => problem.clone(),
            _ => None,
        })
        .await;
    assert!(problem.contains("dies"), "{problem}");
    daemon.stop().await;
}
