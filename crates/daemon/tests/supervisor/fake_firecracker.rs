//! A program that stands where Firecracker does: it reads a configuration, serves the API and the virtio
//! socket, and refuses what the published description of its API does not allow.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use banger_testkit::FirecrackerApi;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

use crate::fake_agent::{Agent, Exit, MUTE, NO_AGENT, greet};

/// Names the role and carries its behaviour: the link's magic, and words.
pub(crate) const ROLE: &str = "BANGER_TEST_FAKE_FIRECRACKER";
/// Carries its arguments.
pub(crate) const ARGUMENTS: &str = "BANGER_TEST_FAKE_ARGUMENTS";
/// Everybody in the guest rings before the agent listens.
pub(crate) const RINGING: &str = "ringing";

/// Plays Firecracker until its guest ends.
pub(crate) fn play(behaviour: &str, arguments: &str) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match runtime.block_on(run(behaviour, arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("[anonymous-instance:main] {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(behaviour: &str, arguments: &str) -> Result<(), String> {
    let (magic, words) = behaviour.split_once(' ').unwrap();
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let argument = |name: &str| {
        let place = arguments.iter().position(|argument| *argument == name).unwrap();
        arguments[place + 1]
    };
    let config: Value =
        serde_json::from_slice(&fs_err::read(argument("--config-file")).unwrap()).unwrap();
    let description = FirecrackerApi::load();
    if let Some(description) = &description {
        description.check_config(&config)?;
    }
    let bind = |path: &str| UnixListener::bind(path).map_err(|error| format!("{path}: {error}"));
    let api = bind(argument("--api-sock"))?;
    let vsock = config["vsock"]["uds_path"].as_str().unwrap();
    let guest = Guest { vsock: bind(vsock)?, bell: format!("{vsock}_{}", port_of(&config)).into() };
    greet();
    if words.contains(MUTE) {
        std::future::pending::<()>().await;
    }
    if words.contains(RINGING) {
        for _ in 0..3000 {
            ring(&guest.bell).await;
        }
    }
    if !words.contains(NO_AGENT) {
        tokio::spawn(guest.serve(port_of(&config), Agent::new(magic)));
    }
    let off = Arc::new(Notify::new());
    let vmm = Arc::new(Vmm { config, description, off: Arc::clone(&off) });
    let router = Router::new().fallback(answer).with_state(vmm);
    let serve = axum::serve(api, router);
    serve.with_graceful_shutdown(async move { off.notified().await }).await.unwrap();
    Ok(())
}

/// The port at which the guest's agent was told to listen.
fn port_of(config: &Value) -> u32 {
    let cmdline = config["boot-source"]["boot_args"].as_str().unwrap();
    let word = banger_proto::guest::cmdline::value(cmdline, banger_proto::guest::cmdline::VSOCK);
    word.unwrap().parse().unwrap()
}

async fn ring(bell: &Path) {
    let mut ringing = UnixStream::connect(bell).await.unwrap();
    let _ = ringing.read(&mut [0]).await;
}

/// What is behind the virtio socket.
struct Guest {
    vsock: UnixListener,
    bell: PathBuf,
}

impl Guest {
    async fn serve(self, port: u32, mut agent: Agent) {
        // How far the agent has come: who is not listening is not connected to.
        let mut listening = false;
        loop {
            if !listening {
                let bell = self.bell.clone();
                listening = true;
                tokio::spawn(async move { ring(&bell).await });
            }
            let (mut host, _) = self.vsock.accept().await.unwrap();
            let mut asked = vec![0; 64];
            let length = host.read(&mut asked).await.unwrap();
            assert_eq!(asked[..length], *format!("CONNECT {port}\n").as_bytes());
            host.write_all(b"OK 1073741824\n").await.unwrap();
            match agent.serve(host).await {
                Exit::Link => {}
                Exit::Restart => listening = false,
                Exit::Death => return self.refuse().await,
            }
        }
    }

    /// Nobody listens in the guest any more.
    async fn refuse(self) {
        loop {
            drop(self.vsock.accept().await.unwrap());
        }
    }
}

/// The VMM.
struct Vmm {
    config: Value,
    description: Option<FirecrackerApi>,
    off: Arc<Notify>,
}

async fn answer(State(vmm): State<Arc<Vmm>>, request: Request) -> Response {
    let fault = |message: String| {
        (StatusCode::BAD_REQUEST, Json(json!({ "fault_message": message }))).into_response()
    };
    let (head, body) = request.into_parts();
    let (method, path) = (head.method, head.uri.path().to_owned());
    let body = body.collect().await.unwrap().to_bytes();
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    if let Some(description) = &vmm.description
        && let Err(error) = description.check_request(method.as_str(), &path, &body)
    {
        return fault(error);
    }
    match (method, &*path) {
        (Method::GET, "/") => {
            let state = json!({ "id": "x", "state": "Running", "vmm_version": "1.16.1" });
            Json(state).into_response()
        }
        (Method::PUT, "/actions") => {
            vmm.off.notify_one();
            StatusCode::NO_CONTENT.into_response()
        }
        (Method::PATCH, path) => {
            let drives = vmm.config["drives"].as_array().unwrap();
            let drive = drives.iter().find(|drive| {
                drive["drive_id"] == body["drive_id"]
                    && drive["path_on_host"] == body["path_on_host"]
                    && path == format!("/drives/{}", drive["drive_id"].as_str().unwrap())
            });
            match drive {
                Some(_) => StatusCode::NO_CONTENT.into_response(),
                None => fault("Invalid device ID".to_owned()),
            }
        }
        (method, path) => fault(format!("`{method} {path}` is not played")),
    }
}
