//! Hello, configure, renew, the clock, health, watch and shutdown.

use banger_agent::{Context, Hosted};
use banger_link::framed::framed;
use banger_proto::guest::frame::Kind;
use banger_proto::guest::{
    AgentHello, Configured, ExecRequest, GuestConfig, GuestStats, Health, Hello, InitKind,
    InitState, Service, SetClock, ShutdownRequest, SystemReport, UnpackRequest,
};
use banger_proto::{Code, GUEST_GENERATION, Problem};

use crate::host::{Stream, config, configured, configured_as, sh, start, within};

fn configure() -> Service {
    Service::Configure(Box::new(config()))
}

fn renew(config: GuestConfig) -> Service {
    Service::Renew(Box::new(config))
}

#[tokio::test]
async fn hello_agrees_on_the_older_generation() {
    let context = Context::hosted(Hosted::default());
    for (theirs, agreed) in [(0, 0), (GUEST_GENERATION, GUEST_GENERATION), (9, GUEST_GENERATION)] {
        let hello = Service::Hello(Hello { generation: theirs });
        let mut stream = Stream::open(&context, &hello).await;
        let reply: AgentHello = stream.accepted().await;
        assert_eq!((reply.generation, reply.configured), (agreed, false));
        assert!(!reply.boot_id.is_empty());
        assert_eq!(stream.next().await, None);
    }
}

#[tokio::test]
async fn a_guest_is_configured_once() {
    let hosted = Hosted::default();
    let context = Context::hosted(hosted.clone());
    let reply: Configured = Stream::open(&context, &configure()).await.accepted().await;
    assert_eq!(reply.init, InitKind::Agent);
    assert_eq!(hosted.configured(), Some(config()));
    let problem = Stream::open(&context, &configure()).await.refused().await;
    assert_eq!(problem.code, Code::Conflict);
    let hello = Service::Hello(Hello { generation: 1 });
    assert!(Stream::open(&context, &hello).await.accepted::<AgentHello>().await.configured);
}

#[tokio::test]
async fn a_failed_configuration_is_told_and_can_be_tried_again() {
    let problem = Problem::new(Code::OperationFailed, "no disk with the serial `base`");
    let context = Context::hosted(Hosted::refusing(problem.clone()));
    assert_eq!(Stream::open(&context, &configure()).await.refused().await, problem);
    Stream::open(&context, &configure()).await.accepted::<Configured>().await;
}

#[tokio::test]
async fn nothing_runs_before_the_configuration() {
    let context = Context::hosted(Hosted::default());
    let directory = "/nowhere".to_owned();
    for service in [
        Service::Exec(Box::default()),
        Service::Unpack(UnpackRequest { directory, replace: None }),
        Service::SetClock(SetClock { clock_unix_nanos: 1, random_seed: String::new() }),
        Service::Stats,
        Service::System,
    ] {
        let problem = Stream::open(&context, &service).await.refused().await;
        assert_eq!(problem.code, Code::Conflict);
    }
}

#[tokio::test]
async fn a_copy_becomes_one_of_its_own() {
    let hosted = Hosted::default();
    let context = configured_as(hosted.clone()).await;
    let env = async || {
        let (_, stream) = start(&context, sh("echo $FROM_GUEST $BOTH")).await;
        stream.finish().await.text().to_owned()
    };
    assert_eq!(env().await, "guest guest\n");
    let copies = ["first", "second"].map(|name| GuestConfig {
        hostname: name.to_owned(),
        env: [("FROM_GUEST".to_owned(), name.to_owned())].into(),
        ..config()
    });
    for copy in &copies {
        let mut stream = Stream::open(&context, &renew(copy.clone())).await;
        let reply: Configured = stream.accepted().await;
        assert_eq!(reply, Configured { init: InitKind::Agent, service: None, warnings: vec![] });
        assert_eq!(stream.next().await, None);
        assert_eq!(env().await, format!("{}\n", copy.hostname));
    }
    assert_eq!(hosted.renewed(), copies);
    assert_eq!(hosted.configured(), Some(config()), "it was booted once");
}

#[tokio::test]
async fn only_a_guest_that_stays_becomes_another() {
    let hosted = Hosted::default();
    let context = Context::hosted(hosted.clone());
    let refused = async || {
        let problem = Stream::open(&context, &renew(config())).await.refused().await;
        assert_eq!(problem.code, Code::Conflict);
        problem.message
    };
    assert_eq!(refused().await, "the guest is not configured yet");
    Stream::open(&context, &configure()).await.accepted::<Configured>().await;
    let shutdown = Service::Shutdown(ShutdownRequest { reboot: false, service_grace_ms: None });
    let mut stream = Stream::open(&context, &shutdown).await;
    stream.accepted::<serde_json::Value>().await;
    assert_eq!(stream.next().await, None);
    within(async {
        while hosted.powered_off().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(refused().await, "the guest is going down");
    assert_eq!(hosted.renewed(), []);
}

#[tokio::test]
async fn a_guest_that_did_not_run_is_told_the_time() {
    let hosted = Hosted::default();
    let context = configured_as(hosted.clone()).await;
    let asked = [1, 2]
        .map(|nanos| SetClock { clock_unix_nanos: nanos, random_seed: format!("{nanos:064x}") });
    for request in &asked {
        let mut stream = Stream::open(&context, &Service::SetClock(request.clone())).await;
        assert_eq!(stream.accepted::<serde_json::Value>().await, serde_json::json!({}));
        assert_eq!(stream.next().await, None);
    }
    assert_eq!(hosted.clock_set(), asked);
}

#[tokio::test]
async fn health_counts_commands() {
    let context = configured().await;
    let count = async || {
        let health: Health = Stream::open(&context, &Service::Health).await.accepted().await;
        health.commands
    };
    assert_eq!(count().await, 0);
    let cat = ExecRequest { argv: vec!["cat".into()], stdin: true, ..Default::default() };
    let (_, mut stream) = start(&context, cat).await;
    assert_eq!(count().await, 1);
    stream.writer.send_bytes(Kind::StdinEnd, &[]).await.unwrap();
    stream.finish().await.exit();
    assert_eq!(count().await, 0);
}

#[tokio::test]
async fn stats_are_those_of_the_system() {
    let context = configured().await;
    let ask = async || {
        let mut stream = Stream::open(&context, &Service::Stats).await;
        stream.accepted::<GuestStats>().await
    };
    let before = ask().await;
    assert!(before.cpus > 0 && before.cpu_busy_ms > 0, "{before:?}");
    assert!((1..before.memory_total).contains(&before.memory_available), "{before:?}");
    assert!(before.disk_free <= before.disk_total && before.disk_total > 0, "{before:?}");
    // Counters grow with what the machine does.
    let spin = ExecRequest {
        argv: ["sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"]
            .map(str::to_owned)
            .to_vec(),
        ..Default::default()
    };
    start(&context, spin).await.1.finish().await.exit();
    let after = ask().await;
    assert!(after.cpu_busy_ms > before.cpu_busy_ms, "{before:?} {after:?}");
    assert!(after.uptime_ms > before.uptime_ms, "{before:?} {after:?}");
}

#[tokio::test]
async fn a_guest_without_systemd_has_no_word_of_it() {
    let context = configured().await;
    let mut stream = Stream::open(&context, &Service::System).await;
    assert_eq!(stream.accepted::<Option<SystemReport>>().await, None);
}

#[tokio::test]
async fn watchers_see_every_state() {
    let context = Context::hosted(Hosted::default());
    let mut watch = Stream::open(&context, &Service::Watch).await;
    assert_eq!(watch.accepted::<Health>().await.state, InitState::Unconfigured);
    Stream::open(&context, &configure()).await.accepted::<Configured>().await;
    let mut state = async || {
        let frame = watch.next().await.unwrap();
        assert_eq!(frame.kind, Kind::Event);
        frame.parse::<Health>().unwrap().state
    };
    assert_eq!(state().await, InitState::Running);
    let shutdown = Service::Shutdown(ShutdownRequest { reboot: false, service_grace_ms: None });
    Stream::open(&context, &shutdown).await.accepted::<serde_json::Value>().await;
    assert_eq!(state().await, InitState::Stopping);
}

#[tokio::test]
async fn shutdown_answers_before_it_acts() {
    let hosted = Hosted::default();
    let context = Context::hosted(hosted.clone());
    let service = Service::Shutdown(ShutdownRequest { reboot: true, service_grace_ms: None });
    let mut stream = Stream::open(&context, &service).await;
    stream.accepted::<serde_json::Value>().await;
    assert_eq!(stream.next().await, None);
    // The end of the stream came first, and the order follows on the same thread.
    within(async {
        while hosted.powered_off().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(hosted.powered_off(), Some(true));
}

#[tokio::test]
async fn garbage_ends_its_stream_and_nothing_else() {
    let context = configured().await;
    for garbage in [&b"\xff\xff\xff\xff\xff\xff"[..], &[Kind::Open as u8, 0xff, 0, 0, 0], b"\x01"] {
        let (near, far) = tokio::io::duplex(4096);
        let serving = tokio::spawn(banger_agent::serve_stream(context.clone(), far));
        let (_reader, writer) = framed(near);
        let mut io = writer.into_inner();
        tokio::io::AsyncWriteExt::write_all(&mut io, garbage).await.unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut io).await.unwrap();
        within(serving).await.unwrap();
    }
    Stream::open(&context, &Service::Health).await.accepted::<Health>().await;
}
