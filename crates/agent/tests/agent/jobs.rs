//! Jobs: they outlive their streams and their agents, end once, and do not fill the disk.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use banger_agent::{Context, Hosted};
use banger_proto::guest::frame::{Frame, Kind};
use banger_proto::guest::{
    AttachJob, ExecExit, ExecRequest, Job, JobOutput, JobState, KillJob, Service, Skipped,
    StartJob, TerminalSize,
};
use banger_proto::{Code, JobId};

use crate::exec::{ended, watch};
use crate::host::{Stream, configured_as, sh, within};

/// An agent whose jobs are kept there.
async fn agent(directory: &Path) -> Arc<Context> {
    configured_as(Hosted::default().with_jobs(directory.to_owned())).await
}

fn id(number: u8) -> JobId {
    JobId::from_random([number; 6])
}

fn starting(number: u8, command: ExecRequest) -> Service {
    Service::StartJob(Box::new(StartJob { id: id(number), command }))
}

async fn start(context: &Arc<Context>, number: u8, command: ExecRequest) -> Job {
    Stream::open(context, &starting(number, command)).await.accepted().await
}

async fn attach(context: &Arc<Context>, asked: AttachJob) -> Stream {
    let mut stream = Stream::open(context, &Service::AttachJob(asked)).await;
    stream.accepted::<Job>().await;
    stream
}

fn all_of(number: u8) -> AttachJob {
    AttachJob { id: id(number), from: JobOutput::Start, follow: true, input: false }
}

/// Everything a job wrote and its exit, once it has ended.
async fn wait(context: &Arc<Context>, number: u8) -> crate::host::Finished {
    attach(context, all_of(number)).await.finish().await
}

async fn list(context: &Arc<Context>) -> Vec<Job> {
    let mut stream = Stream::open(context, &Service::ListJobs).await;
    stream.accepted::<serde_json::Value>().await;
    let mut jobs = Vec::new();
    loop {
        match stream.next().await.unwrap() {
            Frame { kind: Kind::End, .. } => return jobs,
            frame => jobs.push(frame.parse().unwrap()),
        }
    }
}

async fn kill(context: &Arc<Context>, number: u8, signal: u8) -> Stream {
    Stream::open(context, &Service::KillJob(KillJob { id: id(number), signal })).await
}

fn exited(code: u8) -> JobState {
    JobState::Exited { code: Some(code), signal: None }
}

#[tokio::test]
async fn a_job_outlives_its_stream_and_is_kept() {
    let place = tempfile::tempdir().unwrap();
    let context = agent(place.path()).await;
    let gate = place.path().join("gate");
    rustix::fs::mkfifoat(rustix::fs::CWD, &gate, rustix::fs::Mode::RWXU).unwrap();
    let script = format!("echo one; echo oops >&2; cat {}; echo two; exit 7", gate.display());
    let job = start(&context, 1, sh(&script)).await;
    assert_eq!((job.state, job.id, job.argv.len()), (JobState::Running, id(1), 3));

    // Somebody who follows, and goes away.
    let mut follower = attach(&context, all_of(1)).await;
    // Which of two pipes is read first is nobody's promise.
    let mut first = follower.next().await.unwrap();
    if first.kind == Kind::Stderr {
        first = follower.next().await.unwrap();
    }
    assert_eq!(first, Frame::new(Kind::Stdout, "one\n"));
    drop(follower);
    assert_eq!(list(&context).await[0].state, JobState::Running);
    let still = AttachJob { follow: false, ..all_of(1) };
    let mut stream = attach(&context, still).await;
    let mut last = stream.next().await.unwrap();
    while let Some(next) = stream.next().await {
        last = next;
    }
    assert_eq!(last.kind, Kind::End, "it runs");

    let late = attach(&context, AttachJob { from: JobOutput::Now, ..all_of(1) }).await;
    let write = tokio::task::spawn_blocking(move || std::fs::write(gate, "in between\n"));
    let done = wait(&context, 1).await;
    write.await.unwrap().unwrap();
    assert_eq!((done.text(), &done.stderr[..]), ("one\nin between\ntwo\n", &b"oops\n"[..]));
    assert_eq!(*done.exit(), ExecExit { code: Some(7), signal: None });
    assert!(late.finish().await.text().ends_with("two\n"));

    let tail = AttachJob { from: JobOutput::Tail(2), follow: false, ..all_of(1) };
    let done = attach(&context, tail).await.finish().await;
    assert_eq!((done.text(), done.exit().code), ("in between\ntwo\n", Some(7)));
    let listed = list(&context).await;
    assert_eq!(listed.iter().map(|job| job.state).collect::<Vec<_>>(), [exited(7)]);
    assert!(listed[0].ended_unix_ms >= Some(listed[0].started_unix_ms));
}

#[tokio::test]
async fn many_short_jobs_end_exactly_once_and_some_are_kept() {
    let place = tempfile::tempdir().unwrap();
    let context = agent(place.path()).await;
    for round in 0..4 {
        let jobs: Vec<_> = (0..50).map(|n| round * 50 + n).collect();
        let mut streams = Vec::new();
        for number in &jobs {
            let job = start(&context, *number, sh(&format!("echo {number}; exit {number}"))).await;
            assert_ne!(job.pid, 0);
            streams.push(attach(&context, all_of(*number)).await);
        }
        for (number, stream) in jobs.into_iter().zip(streams) {
            // Which has exactly one exit, as its last frame.
            let done = stream.finish().await;
            assert_eq!(done.text(), format!("{number}\n"));
            assert_eq!(done.exit().code, Some(number));
        }
    }
    // The oldest goes right after the last was told to have ended.
    let files = || std::fs::read_dir(place.path()).unwrap().count();
    let all_removed = async {
        // A record and a log each.
        while list(&context).await.len() > 100 || files() > 200 {}
    };
    within(all_removed).await;
    let kept = list(&context).await;
    assert_eq!((kept.len(), files()), (100, 200));
    let ids: BTreeSet<_> = kept.iter().map(|job| job.id.to_string()).collect();
    assert!(ids.contains(id(199).as_str()) && !ids.contains(id(0).as_str()));
}

#[tokio::test]
async fn a_flood_is_bounded_and_what_is_gone_is_said() {
    let place = tempfile::tempdir().unwrap();
    let context = agent(place.path()).await;
    start(&context, 1, sh("head -c 30000000 /dev/zero; echo end")).await;
    let mut last = wait_skipping(&context, 1).await;
    let size: u64 = std::fs::read_dir(place.path())
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert!(size < 10 << 20, "{size}");
    // Also for who comes afterwards.
    last = wait_skipping(&context, 1).await.max(last);
    assert!(last > 20_000_000, "{last}");
}

/// How much was skipped of a job that ends with `end`.
async fn wait_skipping(context: &Arc<Context>, number: u8) -> u64 {
    let mut stream = attach(context, all_of(number)).await;
    let (mut skipped, mut got, mut tail) = (0, 0, Vec::new());
    loop {
        let frame = stream.next().await.unwrap();
        match frame.kind {
            Kind::Stdout => {
                got += frame.payload.len() as u64;
                tail = frame.payload;
            }
            Kind::Event => skipped += frame.parse::<Skipped>().unwrap().skipped,
            Kind::Exit => break,
            other => panic!("unexpected {other:?}"),
        }
    }
    assert!(tail.ends_with(b"end\n"));
    assert!(got + skipped >= 30_000_004, "{got} + {skipped}");
    skipped
}

#[tokio::test]
async fn killing_ends_the_whole_group_once() {
    let place = tempfile::tempdir().unwrap();
    let context = agent(place.path()).await;
    start(&context, 1, sh("sleep 1000 & echo $!; wait")).await;
    let mut stream = attach(&context, all_of(1)).await;
    let line = stream.next().await.unwrap().payload;
    let child = watch(String::from_utf8(line).unwrap().trim().parse().unwrap());
    let mut killed = kill(&context, 1, 15).await;
    killed.accepted::<Job>().await;
    assert_eq!(*stream.finish().await.exit(), ExecExit { code: None, signal: Some(15) });
    ended([child]).await;
    let mut late = kill(&context, 1, 15).await;
    assert_eq!(late.refused().await.code, Code::Conflict);
    assert_eq!(kill(&context, 2, 15).await.refused().await.code, Code::NotFound);
}

#[tokio::test]
async fn input_is_one_attachers_at_a_time_and_ends_when_told() {
    let place = tempfile::tempdir().unwrap();
    let context = agent(place.path()).await;
    start(&context, 1, ExecRequest { stdin: true, ..sh("cat; echo over") }).await;
    // Who only looks takes nothing, and leaves nothing changed.
    let mut onlooker = attach(&context, AttachJob { follow: false, ..all_of(1) }).await;
    while onlooker.next().await.is_some() {}
    let typing = AttachJob { input: true, ..all_of(1) };
    let mut first = attach(&context, typing.clone()).await;
    first.writer.send_bytes(Kind::Stdin, b"one\n").await.unwrap();
    assert_eq!(first.next().await.unwrap(), Frame::new(Kind::Stdout, "one\n"));
    let mut second = Stream::open(&context, &Service::AttachJob(typing.clone())).await;
    assert_eq!(second.refused().await.code, Code::Conflict);
    drop(first);

    // The agent notices in its own time that the first has gone.
    let mut second = loop {
        let mut stream = Stream::open(&context, &Service::AttachJob(typing.clone())).await;
        if stream.next().await.unwrap().kind == Kind::Accepted {
            break stream;
        }
    };
    second.writer.send_bytes(Kind::Stdin, b"two\n").await.unwrap();
    second.writer.send_bytes(Kind::StdinEnd, b"").await.unwrap();
    let done = second.finish().await;
    assert_eq!((done.text(), done.exit().code), ("one\ntwo\nover\n", Some(0)));
}

#[tokio::test]
async fn a_terminal_has_its_size_and_takes_keys() {
    let place = tempfile::tempdir().unwrap();
    let context = agent(place.path()).await;
    let terminal = Some(TerminalSize { rows: 11, cols: 22 });
    let script = "stty size; read line; stty size; echo got $line";
    let command = ExecRequest { terminal, stdin: true, ..sh(script) };
    start(&context, 1, command).await;
    let mut stream = attach(&context, AttachJob { input: true, ..all_of(1) }).await;
    let size = TerminalSize { rows: 33, cols: 44 };
    // Its first words are there: it has looked at the first size.
    let first = stream.next().await.unwrap();
    assert_eq!(first.payload, b"11 22\r\n");
    stream.writer.send_json(Kind::Resize, &size).await.unwrap();
    stream.writer.send_bytes(Kind::Stdin, b"keys\r").await.unwrap();
    let done = stream.finish().await;
    assert!(done.text().ends_with("33 44\r\ngot keys\r\n"), "{}", done.text());
}

#[tokio::test]
async fn what_cannot_be_started_has_ended_like_in_a_shell() {
    let place = tempfile::tempdir().unwrap();
    let context = agent(place.path()).await;
    let command = ExecRequest { argv: vec!["no-such-program".into()], ..Default::default() };
    assert_eq!(start(&context, 1, command).await.state, exited(127));
    let done = wait(&context, 1).await;
    assert_eq!(done.stderr, b"banger: no-such-program: command not found\n");
    assert_eq!(done.exit().code, Some(127));
    let mut again = Stream::open(&context, &starting(1, sh("true"))).await;
    assert_eq!(again.refused().await.code, Code::AlreadyExists);
    let mut nowhere = ExecRequest { cwd: Some("/no/such".into()), ..sh("true") };
    nowhere.argv.push("x".repeat(10_000));
    let mut refused = Stream::open(&context, &starting(2, nowhere)).await;
    assert_eq!(refused.refused().await.code, Code::NotFound);
    assert_eq!(list(&context).await.len(), 1);

    // A guest that has no place for them says so.
    let context = configured_as(Hosted::default()).await;
    let mut refused = Stream::open(&context, &starting(1, sh("true"))).await;
    assert!(refused.refused().await.message.contains("no place"));
}

#[tokio::test]
async fn the_next_agent_knows_what_ended_and_adopts_what_runs() {
    let place = tempfile::tempdir().unwrap();
    let before = agent(place.path()).await;
    start(&before, 1, sh("echo kept; exit 3")).await;
    wait(&before, 1).await;
    start(&before, 2, sh("echo begun; exec sleep 1000")).await;
    let mut stream = attach(&before, all_of(2)).await;
    assert_eq!(stream.next().await.unwrap().payload, b"begun\n");
    // A record that is damaged, and one of another boot.
    std::fs::write(place.path().join(format!("{}.json", id(9))), "{").unwrap();
    let other = std::fs::read_to_string(place.path().join(format!("{}.json", id(2)))).unwrap();
    let mut other: serde_json::Value = serde_json::from_str(&other).unwrap();
    other["boot_id"] = "another".into();
    other["id"] = id(3).as_str().into();
    let path = place.path().join(format!("{}.json", id(3)));
    std::fs::write(path, other.to_string()).unwrap();

    let after = agent(place.path()).await;
    let states: Vec<_> = list(&after).await.into_iter().map(|job| (job.id, job.state)).collect();
    let by = |number| states.iter().find(|(of, _)| *of == id(number)).unwrap().1;
    assert_eq!((by(1), by(2), by(3)), (exited(3), JobState::Running, JobState::Lost));
    assert_eq!(states.len(), 3);
    assert_eq!(wait(&after, 1).await.text(), "kept\n");
    assert_eq!(wait(&after, 3).await.exit().code, None);

    let follower = attach(&after, all_of(2)).await;
    kill(&after, 2, 9).await.accepted::<Job>().await;
    let done = follower.finish().await;
    assert_eq!(done.text(), "begun\n");
    // Nobody of this agent waited for it as its parent.
    assert_eq!(*done.exit(), ExecExit { code: None, signal: None });
}
