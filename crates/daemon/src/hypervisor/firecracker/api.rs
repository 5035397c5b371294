//! Firecracker's API: HTTP on a unix socket, a connection for each request.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::config::{CARD_ID, render_drive_id};
use super::{OLDEST, TESTED};
use crate::exec::Version;

/// Most bytes of an answer that are read.
const ANSWER_LIMIT: usize = 64 << 10;
/// How long to wait before the socket is looked for again. Nothing else tells when it is there: a file in
/// its place may not be listened at yet.
const PAUSE: Duration = Duration::from_millis(2);

/// Why Firecracker did not do something.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The socket.
    #[error("Firecracker's API cannot be reached: {0}")]
    Io(#[from] io::Error),
    /// What is spoken on it.
    #[error("Firecracker's API does not speak HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// No answer.
    #[error("Firecracker did not answer `{0}` in time")]
    Timeout(&'static str),
    /// An answer that nobody can read.
    #[error("Firecracker's answer to `{0}` makes no sense")]
    Answer(&'static str),
    /// It may not do what is asked of it.
    #[error(
        "Firecracker is version {0}, which is older than {OLDEST} (`vmm = \"qemu\"` does without)"
    )]
    Old(String),
    /// It said why.
    #[error("Firecracker refused `{request}`: {reason}")]
    Refused {
        /// What was asked.
        request: &'static str,
        /// Its own words.
        reason: String,
    },
}

/// Where the API is.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    socket: PathBuf,
}

/// What is written of a guest's memory (`SnapshotCreateParams`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum SnapshotType {
    /// All of it.
    Full,
    /// What has been used, over what there is in the file.
    Diff,
}

/// A refusal, as the API describes it (`Error`).
#[derive(Debug, Deserialize)]
struct Fault {
    fault_message: String,
}

/// How a VM is (`InstanceInfo`).
#[derive(Debug, Deserialize)]
struct InstanceInfo {
    state: String,
    vmm_version: String,
}

impl Api {
    /// That at `socket`, which need not be there yet.
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Waits until it answers, and says that the VM is in `state`; its version.
    pub(crate) async fn answers(
        &self,
        expected: &str,
        deadline: Duration,
    ) -> Result<Version, ApiError> {
        const REQUEST: &str = "GET /";
        let answered = async {
            while !self.is_listening().await {
                sleep(PAUSE).await;
            }
            let told = self.send(REQUEST, Method::GET, "/", None).await?;
            let InstanceInfo { state, vmm_version } =
                serde_json::from_slice(&told).map_err(|_| ApiError::Answer(REQUEST))?;
            // One that nobody can read is a newer one's.
            let version = Version::parse(&vmm_version).unwrap_or(TESTED);
            if version < OLDEST {
                return Err(ApiError::Old(vmm_version));
            }
            if state != expected {
                let reason = format!("the VM is in state `{state}`");
                return Err(ApiError::Refused { request: REQUEST, reason });
            }
            Ok(version)
        };
        timeout(deadline, answered).await.map_err(|_| ApiError::Timeout(REQUEST))?
    }

    /// Presses Ctrl, Alt and Del, the one thing that its keyboard can.
    pub(crate) async fn power_button(&self, deadline: Duration) -> Result<(), ApiError> {
        let body = json!({ "action_type": "SendCtrlAltDel" });
        self.change("PUT /actions", Method::PUT, "/actions", body, deadline).await
    }

    /// Has the guest see that the file of the disk at place `disk` has another size.
    pub(crate) async fn resize_disk(&self, disk: u32, deadline: Duration) -> Result<(), ApiError> {
        let id = render_drive_id(disk);
        let body = json!({ "drive_id": id, "path_on_host": id });
        self.change("PATCH /drives", Method::PATCH, &format!("/drives/{id}"), body, deadline).await
    }

    /// Has the guest stand still.
    pub(crate) async fn pause(&self, deadline: Duration) -> Result<(), ApiError> {
        let body = json!({ "state": "Paused" });
        self.change("PATCH /vm", Method::PATCH, "/vm", body, deadline).await
    }

    /// Has it go on.
    pub(crate) async fn resume(&self, deadline: Duration) -> Result<(), ApiError> {
        let body = json!({ "state": "Resumed" });
        self.change("PATCH /vm", Method::PATCH, "/vm", body, deadline).await
    }

    /// Writes memory and state of a guest that stands still.
    pub(crate) async fn create_snapshot(
        &self,
        kind: SnapshotType,
        state: &str,
        memory: &str,
        deadline: Duration,
    ) -> Result<(), ApiError> {
        const PATH: &str = "/snapshot/create";
        let body =
            json!({ "snapshot_type": kind, "snapshot_path": state, "mem_file_path": memory });
        self.change("PUT /snapshot/create", Method::PUT, PATH, body, deadline).await
    }

    /// Has a guest that has not begun have what was saved; its card is plugged in at `tap`. Its memory is
    /// mapped, and what it writes is its own.
    pub(crate) async fn load_snapshot(
        &self,
        state: &str,
        memory: &str,
        tap: Option<&str>,
        paused: bool,
        deadline: Duration,
    ) -> Result<(), ApiError> {
        const PATH: &str = "/snapshot/load";
        let mut body = json!({
            "snapshot_path": state,
            "mem_backend": { "backend_type": "File", "backend_path": memory },
            "resume_vm": !paused,
        });
        if let Some(tap) = tap {
            body["network_overrides"] = json!([{ "iface_id": CARD_ID, "host_dev_name": tap }]);
        }
        self.change("PUT /snapshot/load", Method::PUT, PATH, body, deadline).await
    }

    async fn is_listening(&self) -> bool {
        UnixStream::connect(&self.socket).await.is_ok()
    }

    async fn change(
        &self,
        request: &'static str,
        method: Method,
        path: &str,
        body: Value,
        deadline: Duration,
    ) -> Result<(), ApiError> {
        let sent = self.send(request, method, path, Some(body));
        timeout(deadline, sent).await.map_err(|_| ApiError::Timeout(request))?.map(drop)
    }

    async fn send(
        &self,
        request: &'static str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Bytes, ApiError> {
        let stream = UnixStream::connect(&self.socket).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let message = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(io::Error::other)?;
        let answer = sender.send_request(message).await?;
        let status = answer.status();
        let told = Limited::new(answer.into_body(), ANSWER_LIMIT).collect().await;
        let told = told.map_err(|_| ApiError::Answer(request))?.to_bytes();
        if status == StatusCode::OK || status == StatusCode::NO_CONTENT {
            return Ok(told);
        }
        let reason = match serde_json::from_slice(&told) {
            Ok(Fault { fault_message }) => fault_message,
            Err(_) => format!("status {status}"),
        };
        Err(ApiError::Refused { request, reason })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    /// Answers one request with `status` and `body`; tells what was asked.
    async fn answer_once(listener: &UnixListener, status: &str, body: &str) -> String {
        // Whoever looks whether somebody listens says nothing.
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let length = client.read(&mut asked).await.unwrap();
            if length == 0 {
                continue;
            }
            let length_of_body = body.len();
            let answer = format!(
                "HTTP/1.1 {status} \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\
                 Content-Type: application/json\r\nContent-Length: {length_of_body}\r\n\r\n{body}"
            );
            client.write_all(answer.as_bytes()).await.unwrap();
            return String::from_utf8_lossy(&asked[..length]).into_owned();
        }
    }

    #[tokio::test]
    async fn what_is_asked_and_how_a_refusal_reads() {
        let dir = tempfile::tempdir().unwrap();
        let api = Api::new(dir.path().join("api.sock"));
        let listener = UnixListener::bind(dir.path().join("api.sock")).unwrap();

        let (done, asked) =
            tokio::join!(api.power_button(DEADLINE), answer_once(&listener, "204", ""));
        done.unwrap();
        assert!(asked.starts_with("PUT /actions HTTP/1.1\r\n"), "{asked}");
        assert!(asked.ends_with(r#"{"action_type":"SendCtrlAltDel"}"#), "{asked}");

        let fault = r#"{"fault_message":"Invalid device ID: disk7"}"#;
        let (refused, asked) =
            tokio::join!(api.resize_disk(7, DEADLINE), answer_once(&listener, "400", fault));
        assert!(asked.starts_with("PATCH /drives/disk7 HTTP/1.1\r\n"), "{asked}");
        assert_eq!(
            refused.unwrap_err().to_string(),
            "Firecracker refused `PATCH /drives`: Invalid device ID: disk7"
        );
    }

    #[tokio::test]
    async fn it_is_waited_for_and_must_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let api = Api::new(path.clone());
        let serve = async {
            let listener = UnixListener::bind(&path).unwrap();
            let state = |state, version| {
                format!(r#"{{"id":"x","state":"{state}","vmm_version":"{version}"}}"#)
            };
            answer_once(&listener, "200", &state("Running", "1.5.0")).await;
            answer_once(&listener, "200", &state("Not started", "1.16.1")).await;
            answer_once(&listener, "200", &state("Running", "1.4.1")).await;
        };
        let ask = async {
            let version = api.answers("Running", DEADLINE).await.unwrap();
            assert_eq!(version, OLDEST);
            let idle = api.answers("Running", DEADLINE).await.unwrap_err().to_string();
            assert!(idle.contains("`Not started`"), "{idle}");
            let old = api.answers("Running", DEADLINE).await.unwrap_err().to_string();
            assert_eq!(
                old,
                "Firecracker is version 1.4.1, which is older than 1.5 (`vmm = \"qemu\"` does without)"
            );
        };
        tokio::join!(ask, serve);
    }

    #[tokio::test]
    async fn silence_has_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let api = Api::new(dir.path().join("api.sock"));
        let soon = Duration::from_millis(50);
        assert!(matches!(api.answers("Running", soon).await, Err(ApiError::Timeout(_))));
        let _listener = UnixListener::bind(dir.path().join("api.sock")).unwrap();
        assert!(matches!(api.power_button(soon).await, Err(ApiError::Timeout(_))));
    }
}
