//! Guests that follow no rules: they harm themselves, not the daemon, and not other VMs.

use std::time::Duration;

use banger_proto::api::{ExecVm, Pong, VmHealth, VmView};
use banger_proto::guest::frame::Kind;
use banger_proto::{Code, Problem};
use banger_testkit::{Boot, Hostile, TestDaemon, TestEnv, Then, frame};
use hyper::Method;
use serde_json::{Value, json};

use super::{assert_nothing_left, create, create_fails, delete, in_time, named, show, until_none};

/// Text that a terminal obeys, with characters that end strings elsewhere, and too long for a
/// message.
fn nasty() -> String {
    "\u{1b}]52;c;eA==\u{7}\u{9b}2J\u{202e}x\0y\r".repeat(150)
}

fn assert_harmless(text: &str) {
    assert!(text.len() < 8 << 10, "{} bytes", text.len());
    assert!(!text.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
}

fn assert_harmless_json(value: &Value) {
    match value {
        Value::String(text) => assert_harmless(text),
        Value::Array(values) => values.iter().for_each(assert_harmless_json),
        Value::Object(values) => values.values().for_each(assert_harmless_json),
        _ => {}
    }
}

fn health(state: &str) -> Value {
    json!({ "boot_id": "b", "uptime_ms": 1, "init": "agent", "state": state, "commands": 0 })
}

/// A daemon whose VM `web` is hostile.
async fn with_hostile(env: &TestEnv, hostile: Hostile) -> TestDaemon {
    let daemon = TestDaemon::start(env).await;
    env.world.next_boot(Boot::Hostile(hostile));
    create(&daemon, "web").await;
    daemon
}

/// Everything else works as if nothing was, and the VM can be removed.
async fn assert_unharmed(env: &TestEnv, daemon: TestDaemon) {
    in_time(async {
        create(&daemon, "other").await;
        let _: Pong = daemon.client.get("/v1/vms/other/ping").await;
        for vm in ["other", "web"] {
            let path = format!("/v1/vms/{vm}/kill");
            let _: VmView = daemon.client.call(Method::POST, &path, ()).await.ok();
            delete(&daemon, vm).await;
        }
        assert_nothing_left(env, &daemon).await;
        daemon.stop().await;
    })
    .await;
}

#[tokio::test]
async fn answers_that_are_none_are_refused() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let hello = |generation: u64| {
        let hello = json!({ "generation": generation, "agent_version": "1", "boot_id": "b",
            "configured": false });
        frame(Kind::Accepted, hello.to_string().as_bytes())
    };
    for (what, answer) in [
        ("a later generation", hello(99)),
        ("no generation", hello(0)),
        ("a generation that is no number of ours", hello(u64::MAX)),
        ("bad UTF-8", frame(Kind::Accepted, b"{\"agent_version\": \"\xff\xfe\"}")),
        ("a giant length", [&[Kind::Accepted as u8][..], &[255; 4], &[b'{'; 4096]].concat()),
        ("a frame out of turn", frame(Kind::Exit, b"{\"code\":0}")),
        ("an unknown frame", vec![200, 0, 0, 0, 0]),
        ("deep nesting", frame(Kind::Accepted, "[".repeat(1 << 20).as_bytes())),
        ("nothing", vec![]),
    ] {
        let hostile = Hostile { service: "hello", answer, then: Then::Ends };
        env.world.next_boot(Boot::Hostile(hostile));
        let problem = in_time(create_fails(&daemon, named("web"))).await;
        assert!(
            problem.causes.iter().any(|cause| cause.contains("`hello`")),
            "{what}: {problem:?}"
        );
        assert_harmless_json(&serde_json::to_value(&problem).unwrap());
        delete(&daemon, "web").await;
        until_none(&daemon).await;
    }
    assert_nothing_left(&env, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn what_it_says_of_itself_is_bounded_and_harmless() {
    let env = TestEnv::new();
    let mut said = health("running");
    said["boot_id"] = nasty().into();
    said["service"] = json!({ "state": "failed", "reason": nasty() });
    let watched = Hostile::answering("watch", &said, Then::Sleeps);
    let daemon = with_hostile(&env, watched).await;
    let told = super::until(&daemon, "web", |vm| {
        vm.guest.as_ref().is_some_and(|guest| guest.service.is_some())
    });
    assert_harmless_json(&serde_json::to_value(told.await).unwrap());
    assert_unharmed(&env, daemon).await;
}

#[tokio::test]
async fn a_refusal_is_bounded_and_harmless() {
    let env = TestEnv::new();
    let mut problem = Problem::new(Code::Other(nasty()), nasty());
    problem.causes = vec![nasty(); 50];
    problem.hints = vec![nasty(); 50];
    let answer = frame(Kind::Refused, &serde_json::to_vec(&problem).unwrap());
    let daemon = with_hostile(&env, Hostile { service: "exec", answer, then: Then::Ends }).await;
    let refused = daemon.client.exec("web", &ExecVm::default()).await.unwrap_err();
    assert!(serde_json::to_string(&refused).unwrap().contains('\u{fffd}'), "{refused:?}");
    assert_harmless_json(&serde_json::to_value(&refused).unwrap());
    assert_unharmed(&env, daemon).await;
}

#[tokio::test]
async fn a_flood_of_news_is_taken_at_the_hosts_pace() {
    let env = TestEnv::new();
    let flood: Vec<u8> = ["running", "starting"]
        .map(|state| frame(Kind::Event, health(state).to_string().as_bytes()))
        .concat();
    let flood = flood.repeat(100);
    let hostile = Hostile::answering("watch", &health("running"), Then::Floods(flood));
    let daemon = with_hostile(&env, hostile).await;
    assert!(show(&daemon, "web").await.guest.is_some());
    assert_unharmed(&env, daemon).await;
}

#[tokio::test]
async fn a_flood_of_output_waits_for_its_reader() {
    let env = TestEnv::new();
    let flood = frame(Kind::Stdout, &[b'y'; 32 << 10]);
    let hostile = Hostile::answering("exec", &json!({ "pid": 7 }), Then::Floods(flood));
    let daemon = with_hostile(&env, hostile).await;
    // Nobody reads the one, somebody all of a second.
    let asleep = daemon.client.exec("web", &ExecVm::default()).await.unwrap();
    let mut awake = daemon.client.exec("web", &ExecVm::default()).await.unwrap();
    in_time(async {
        for _ in 0..500 {
            let said = awake.reader.next().await.unwrap().unwrap();
            assert_eq!(said.kind, Kind::Stdout);
        }
    })
    .await;
    drop((asleep, awake));
    assert_unharmed(&env, daemon).await;
}

#[tokio::test]
async fn a_guest_that_reads_nothing_stops_only_who_writes_to_it() {
    let env = TestEnv::new();
    let hostile = Hostile::answering("exec", &json!({ "pid": 7 }), Then::Sleeps);
    let daemon = with_hostile(&env, hostile).await;
    let mut session = daemon.client.exec("web", &ExecVm::default()).await.unwrap();
    let stuck = async {
        // A socket's buffers and the link's window take some of it.
        for _ in 0..1000 {
            session.writer.send_bytes(Kind::Stdin, &[0; 32 << 10]).await.unwrap();
        }
    };
    assert!(tokio::time::timeout(Duration::from_millis(500), stuck).await.is_err());
    assert_eq!(show(&daemon, "web").await.name.as_str(), "web");
    drop(session);
    assert_unharmed(&env, daemon).await;
}

#[tokio::test]
async fn an_end_that_is_told_twice_or_never_is_the_clients_to_judge() {
    let env = TestEnv::new();
    let exit = |code: u8| frame(Kind::Exit, json!({ "code": code }).to_string().as_bytes());
    let mut answer = frame(Kind::Accepted, br#"{"pid":7}"#);
    answer.extend([exit(3), exit(4), frame(Kind::Stdout, b"after the end")].concat());
    let daemon = with_hostile(&env, Hostile { service: "exec", answer, then: Then::Ends }).await;
    let session = daemon.client.exec("web", &ExecVm::default()).await.unwrap();
    let (said, exit) = session.finish().await;
    assert_eq!((said.as_str(), exit.code), ("", Some(3)));
    assert_unharmed(&env, daemon).await;

    let env = TestEnv::new();
    let never = Hostile::answering("exec", &json!({ "pid": 7 }), Then::Ends);
    let daemon = with_hostile(&env, never).await;
    let mut session = daemon.client.exec("web", &ExecVm::default()).await.unwrap();
    assert!(in_time(session.reader.next()).await.unwrap().is_none());
    assert_unharmed(&env, daemon).await;
}

#[tokio::test]
async fn an_answer_that_never_comes_has_a_deadline() {
    let env = TestEnv::new();
    // Half of a frame, and then nothing.
    let answer = frame(Kind::Accepted, b"{}")[..3].to_vec();
    let daemon =
        with_hostile(&env, Hostile { service: "health", answer, then: Then::Swallows }).await;
    let answer =
        daemon.client.call(Method::GET, "/v1/vms/web/health?timeout_ms=50", ()).await.problem();
    assert_eq!(answer.code, Code::Timeout);
    let _: VmHealth = {
        create(&daemon, "honest").await;
        let health = daemon.client.get("/v1/vms/honest/health").await;
        let path = "/v1/vms/honest/kill";
        let _: VmView = daemon.client.call(Method::POST, path, ()).await.ok();
        delete(&daemon, "honest").await;
        health
    };
    assert_unharmed(&env, daemon).await;
}
