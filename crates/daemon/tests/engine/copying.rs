//! Copying files into a guest and out of it, with the real agent at the other end.

use std::path::{Path, PathBuf};

use banger_proto::api::{DaemonStatus, END_TRAILER, Event, VmView};
use banger_proto::guest::frame::Kind;
use banger_proto::{Code, Problem};
use banger_testkit::{Boot, Hostile, TestDaemon, TestEnv, Then, frame};
use http_body_util::BodyExt;
use hyper::{Method, StatusCode};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::{create, in_time};

/// A daemon with the VM `web`, and its guest's root.
async fn with_guest(env: &TestEnv) -> (TestDaemon, PathBuf) {
    let guest = env.dir().join("guest");
    fs_err::create_dir_all(guest.join("root")).unwrap();
    let daemon = TestDaemon::start(env).await;
    env.world.next_boot(Boot::InDirectory(guest.clone()));
    create(&daemon, "web").await;
    (daemon, guest)
}

/// An archive of a directory `site` with one file of `bytes`.
fn site(bytes: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o755);
    header.set_size(0);
    tar.append_data(&mut header, "site", &b""[..]).unwrap();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o640);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, "site/page", bytes).unwrap();
    tar.into_inner().unwrap()
}

async fn put(daemon: &TestDaemon, path: &str, tar: Vec<u8>) -> Result<Event, Problem> {
    let call = format!("/v1/vms/web/files?path={path}");
    let answer = daemon.client.send(Method::PUT, &call, &[], tar).await;
    let status = answer.status();
    let body = in_time(answer.into_body().collect()).await.unwrap().to_bytes();
    if status != StatusCode::OK {
        return Err(serde_json::from_slice(&body).unwrap());
    }
    Ok(serde_json::from_slice(&body).unwrap())
}

/// The stream and how it ended.
async fn get(daemon: &TestDaemon, path: &str) -> Result<(Vec<u8>, Option<Event>), Problem> {
    let call = format!("/v1/vms/web/files?path={path}");
    let answer = daemon.client.send(Method::GET, &call, &[("te", "trailers")], "").await;
    let status = answer.status();
    let whole = in_time(answer.into_body().collect()).await.unwrap();
    let trailers = whole.trailers().cloned().unwrap_or_default();
    let body = whole.to_bytes();
    if status != StatusCode::OK {
        return Err(serde_json::from_slice(&body).unwrap());
    }
    let end = trailers.get(END_TRAILER);
    Ok((body.to_vec(), end.map(|end| serde_json::from_slice(end.as_bytes()).unwrap())))
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs_err::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn files_go_in_and_come_out() {
    let env = TestEnv::new();
    let (daemon, guest) = with_guest(&env).await;
    let page = vec![7; 3_000_000];
    let Event::Copied { copied } = put(&daemon, "/root", site(&page)).await.unwrap() else {
        panic!("not copied");
    };
    assert_eq!((copied.entries, copied.bytes), (2, 3_000_000));
    assert_eq!(fs_err::read(guest.join("root/site/page")).unwrap(), page);

    // What is not absolute is in root's home; and what is copied out is what could be copied in.
    let (tar, end) = get(&daemon, "site").await.unwrap();
    let Some(Event::Copied { copied }) = end else { panic!("{end:?}") };
    assert_eq!((copied.entries, copied.bytes, copied.notes.len()), (2, 3_000_000, 0));
    put(&daemon, "again", tar).await.unwrap();
    assert_eq!(fs_err::read(guest.join("root/again/page")).unwrap(), page);
    assert_eq!(names(&guest.join("root")), ["again", "site"]);
    daemon.stop().await;
}

#[tokio::test]
async fn what_cannot_be_is_a_problem_before_anything_is_copied() {
    let env = TestEnv::new();
    let (daemon, guest) = with_guest(&env).await;
    let problem = get(&daemon, "/nope").await.unwrap_err();
    assert_eq!(problem.code, Code::NotFound);
    assert_eq!(problem.message, "cannot read `/nope` in the guest");
    let problem = put(&daemon, "/no/pe", site(b"")).await.unwrap_err();
    assert_eq!(problem.code, Code::NotFound);
    assert_eq!(problem.message, "cannot copy to `/no/pe` in the guest");
    assert!(problem.hints[0].contains("directory"), "{problem:?}");

    let Event::Failed { problem } = put(&daemon, "/root", b"no archive".repeat(100)).await.unwrap()
    else {
        panic!("copied");
    };
    assert_eq!((problem.code, problem.op_id.is_some()), (Code::BadRequest, true));
    let whole = site(&[7; 5000]);
    for length in [0, 700, 3000, whole.len() - 1024] {
        let cut = whole[..length].to_vec();
        let end = put(&daemon, "/root", cut).await.unwrap();
        assert!(matches!(end, Event::Failed { .. }), "{length}: {end:?}");
    }
    assert_eq!(names(&guest.join("root/site")), ["page"], "the last one had all of it");

    let stopped = daemon.client.call(Method::POST, "/v1/vms/web/stop", ()).await;
    assert_eq!(stopped.ok::<VmView>().name.as_str(), "web");
    for problem in [
        get(&daemon, "/root").await.unwrap_err(),
        put(&daemon, "/root", site(b"")).await.unwrap_err(),
    ] {
        assert_eq!(problem.message, "VM `web` does not run: it is stopped");
        assert_eq!(problem.hints, ["banger vm start web"]);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_no_part_of_a_file() {
    let env = TestEnv::new();
    let (daemon, guest) = with_guest(&env).await;
    let tar = site(&[7; 1_000_000]);
    let mut client = UnixStream::connect(env.paths.daemon_socket()).await.unwrap();
    let head = "PUT /v1/vms/web/files?path=/root HTTP/1.1\r\nhost: banger\r\n\
        transfer-encoding: chunked\r\n\r\n80000\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&tar[..0x80000]).await.unwrap();
    // The copy is under way once the agent has begun.
    let root = guest.join("root");
    in_time(async {
        while !root.join("site").exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(client);
    in_time(async {
        while daemon.client.get::<DaemonStatus>("/v1/daemon").await.busy > 0
            || !names(&root.join("site")).is_empty()
        {}
    })
    .await;
    daemon.stop().await;
}

/// A daemon whose VM `web` lies about copies.
async fn with_liar(env: &TestEnv, hostile: Hostile) -> TestDaemon {
    let daemon = TestDaemon::start(env).await;
    env.world.next_boot(Boot::Hostile(hostile));
    create(&daemon, "web").await;
    daemon
}

fn liar(service: &'static str, after: &[Vec<u8>], then: Then) -> Hostile {
    let accepted = frame(Kind::Accepted, b"{}");
    Hostile { service, answer: [accepted, after.concat()].concat(), then }
}

#[tokio::test]
async fn a_copy_that_is_not_whole_says_so() {
    let data = frame(Kind::Data, b"bytes");
    let nasty = "\u{1b}[2Jn".repeat(2000);
    let refusal = Problem::new(Code::OperationFailed, &*nasty).cause(&*nasty);
    let refusal = frame(Kind::Refused, &serde_json::to_vec(&refusal).unwrap());
    for (what, after) in [
        ("an end", vec![data.clone()]),
        ("a failure", vec![data.clone(), refusal]),
        ("nonsense", vec![data.clone(), frame(Kind::Event, b"{}")]),
        ("a frame out of turn", vec![data, frame(Kind::Exit, b"{}")]),
    ] {
        let env = TestEnv::new();
        let daemon = with_liar(&env, liar("copy_out", &after, Then::Ends)).await;
        let (bytes, end) = get(&daemon, "/x").await.unwrap();
        assert_eq!(bytes, b"bytes", "{what}");
        let Some(Event::Failed { problem }) = end else { panic!("{what}: {end:?}") };
        let told = serde_json::to_string(&problem).unwrap();
        assert!(told.len() < 8 << 10 && !told.contains("u001b"), "{what}: {told}");
        daemon.stop().await;
    }
}

#[tokio::test]
async fn notes_of_a_guest_are_bounded() {
    let notes = vec!["\u{1b}[2Jé".repeat(400); 60];
    let copied = json!({ "entries": 1, "bytes": 2, "notes": notes });
    let after = [frame(Kind::Event, copied.to_string().as_bytes())];
    let env = TestEnv::new();
    let daemon = with_liar(&env, liar("copy_out", &after, Then::Sleeps)).await;
    let (_, end) = get(&daemon, "/x").await.unwrap();
    let Some(Event::Copied { copied }) = end else { panic!("{end:?}") };
    assert_eq!((copied.entries, copied.bytes), (1, 2));
    assert_eq!(copied.notes, ["32 entries were not copied as they are"]);
    daemon.stop().await;
}

#[tokio::test]
async fn an_agent_that_is_too_old_is_told_from_one_that_fails() {
    let refusal = Problem::new(Code::UnknownMethod, "no service `copy_in`");
    let answer = frame(Kind::Refused, &serde_json::to_vec(&refusal).unwrap());
    let env = TestEnv::new();
    let daemon =
        with_liar(&env, Hostile { service: "copy_in", answer, then: Then::Swallows }).await;
    let problem = put(&daemon, "/root", site(b"")).await.unwrap_err();
    assert_eq!(
        (&problem.code, &*problem.message),
        (&Code::Conflict, "the agent of VM `web` is too old to copy files")
    );
    assert!(problem.hints[0].contains("banger vm restart web"), "{problem:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn an_agent_that_gives_up_half_way_is_heard() {
    let refusal = Problem::new(Code::OperationFailed, "no space left");
    let after = [frame(Kind::Refused, &serde_json::to_vec(&refusal).unwrap())];
    let env = TestEnv::new();
    let daemon = with_liar(&env, liar("copy_in", &after, Then::Ends)).await;
    let end = put(&daemon, "/root", site(&vec![0; 20_000_000])).await.unwrap();
    let Event::Failed { problem } = end else { panic!("{end:?}") };
    assert_eq!(problem.message, "no space left");
    daemon.stop().await;
}
