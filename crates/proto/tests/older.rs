//! What older programs wrote or say is read by this one: supervisors and agents outlive the
//! daemon that started them, and a newer daemon works with them.
//!
//! The fixtures are what version 1 wrote, a line each, and are never changed. What is read from
//! a line must also be all there is in it: a field that is renamed would else be read as absent.

use std::fmt::Debug;

use banger_proto::guest::{AgentHello, GuestStats, Health, Service};
use banger_proto::supervisor::{Command, LaunchReport, LaunchSpec, Reply, SupervisorState};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads each line and finds everything that stands in it in what was read.
fn read<T: DeserializeOwned + Serialize + Debug>(lines: &str) -> Vec<T> {
    let read = |line: &str| {
        let value: T = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let then = serde_json::from_str(line).expect("JSON");
        assert_kept(&then, &serde_json::to_value(&value).expect("JSON"), line);
        value
    };
    assert!(!lines.is_empty());
    lines.lines().map(read).collect()
}

/// Whether `now` has all of `then`; it may have more. Nothing and null are the same.
fn assert_kept(then: &Value, now: &Value, line: &str) {
    match (then, now) {
        (Value::Object(then), Value::Object(now)) => {
            for (key, value) in then {
                assert_kept(value, now.get(key).unwrap_or(&Value::Null), line);
            }
        }
        _ => assert_eq!(then, now, "{line}"),
    }
}

#[test]
fn supervisors() {
    let states: Vec<SupervisorState> = read(include_str!("fixtures/supervisor-state.jsonl"));
    assert!(states[0].link_up && states[0].exit.is_none());
    assert_eq!(states[2].exit.as_ref().and_then(|exit| exit.code), Some(0));
    assert!(states[3].exit.as_ref().is_some_and(|exit| exit.killed && exit.signal == Some(9)));
    read::<LaunchSpec>(include_str!("fixtures/launch-spec.jsonl"));
    let commands: Vec<Command> = read(include_str!("fixtures/supervisor-command.jsonl"));
    assert_eq!(commands, [Command::Status, Command::Watch, Command::PowerButton, Command::Kill]);
    let replies: Vec<Reply> = read(include_str!("fixtures/supervisor-reply.jsonl"));
    assert!(matches!(&replies[..], [Reply::State(_), Reply::Failed { .. }]), "{replies:?}");
    let reports: Vec<LaunchReport> = read(include_str!("fixtures/launch-report.jsonl"));
    let [LaunchReport::Running(_), LaunchReport::Ended(_), LaunchReport::Failed(_)] = &reports[..]
    else {
        panic!("{reports:?}");
    };
}

#[test]
fn agents() {
    let hellos: Vec<AgentHello> = read(include_str!("fixtures/agent-hello.jsonl"));
    assert!(hellos[0].configured && hellos[0].generation == 1);
    read::<Health>(include_str!("fixtures/health.jsonl"));
    read::<GuestStats>(include_str!("fixtures/guest-stats.jsonl"));
    // What a newer daemon asks an older agent for has the same form.
    read::<Service>(include_str!("fixtures/guest-request.jsonl"));
}
