//! A program that stands where QEMU does: it speaks QMP, and there is an agent at its link.
//!
//! Its start script gives it the link as standard input and QMP as standard error; standard
//! output is the console, as with QEMU.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::Notify;

use crate::fake_agent::{Agent, Exit, MUTE, NO_AGENT, greet};

/// Names the role and carries its behaviour: the link's magic, and words.
pub(crate) const ROLE: &str = "BANGER_TEST_FAKE_QEMU";

/// Plays QEMU until it is told to end.
pub(crate) fn play(behaviour: &str) -> ! {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (magic, words) = behaviour.split_once(' ').unwrap();
        greet();
        let qmp = socket(std::io::stderr().as_fd());
        let link = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
        let gone = Arc::new(Notify::new());
        if words.contains(MUTE) {
            std::future::pending::<()>().await;
        }
        if !words.contains(NO_AGENT) {
            tokio::spawn(serve_link(link, Agent::new(magic), Arc::clone(&gone)));
        }
        serve_qmp(qmp, &gone).await;
        std::process::exit(0);
    })
}

fn socket(fd: std::os::fd::BorrowedFd<'_>) -> UnixStream {
    from_owned(fd.try_clone_to_owned().unwrap())
}

fn from_owned(fd: OwnedFd) -> UnixStream {
    let socket = std::os::unix::net::UnixStream::from(fd);
    socket.set_nonblocking(true).unwrap();
    UnixStream::from_std(socket).unwrap()
}

async fn serve_qmp(qmp: UnixStream, agent_gone: &Notify) {
    let (reader, mut writer) = qmp.into_split();
    writer.write_all(b"{\"QMP\":{\"version\":{},\"capabilities\":[]}}\n").await.unwrap();
    let mut lines = BufReader::new(reader).lines();
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line.unwrap(),
            () = agent_gone.notified() => {
                let data = serde_json::json!({ "id": "link", "open": false });
                let event = serde_json::json!({ "event": "VSERPORT_CHANGE", "data": data });
                writer.write_all(format!("{event}\n").as_bytes()).await.unwrap();
                continue;
            }
        };
        let Some(line) = line else { return };
        let command: serde_json::Value = serde_json::from_str(&line).unwrap();
        let mut answer = serde_json::json!({ "return": {}, "id": command["id"] });
        // It has one disk that can be resized, and its file is of one size.
        let resized = serde_json::json!({ "node-name": "disk1", "size": 4096 });
        if command["execute"] == "block_resize" && command["arguments"] != resized {
            let error = serde_json::json!({ "class": "GenericError", "desc": "no such disk" });
            answer = serde_json::json!({ "error": error, "id": command["id"] });
        }
        writer.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
        if command["execute"] == "system_powerdown" {
            return;
        }
    }
}

async fn serve_link(link: OwnedFd, mut agent: Agent, gone: Arc<Notify>) {
    loop {
        match agent.serve(from_owned(link.try_clone().unwrap())).await {
            Exit::Restart => {}
            Exit::Death => return gone.notify_one(),
            Exit::Link => return,
        }
    }
}
