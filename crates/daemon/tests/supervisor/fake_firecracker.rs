//! A program that stands where Firecracker does: it reads a configuration, serves the API and the virtio
//! socket, and refuses what the published description of its API does not allow.

use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use banger_testkit::FirecrackerApi;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Notify, mpsc};

use crate::fake_agent::{Agent, Exit, MUTE, NO_AGENT, greet};

/// Names the role and carries its behaviour: the link's magic, and words.
pub(crate) const ROLE: &str = "BANGER_TEST_FAKE_FIRECRACKER";
/// Carries its arguments.
pub(crate) const ARGUMENTS: &str = "BANGER_TEST_FAKE_ARGUMENTS";
/// Everybody in the guest rings before the agent listens.
pub(crate) const RINGING: &str = "ringing";

/// Saving the guest takes a while.
pub(crate) const SLOW: &str = "slow";

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
    if arguments == "--version" {
        println!("Firecracker v1.16.1\n");
        return Ok(());
    }
    let (magic, words) = behaviour.split_once(' ').unwrap();
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let argument = |name: &str| {
        let place = arguments.iter().position(|argument| *argument == name)?;
        Some(arguments[place + 1])
    };
    let description = FirecrackerApi::load();
    let api = bind(argument("--api-sock").unwrap())?;
    let metrics =
        fs_err::File::options().read(true).write(true).open(argument("--metrics-path").unwrap());
    let mut metrics = metrics.unwrap();
    metrics.write_all(b"{\"utc_timestamp_ms\":1}\n").unwrap();
    let (begin, mut begun) = mpsc::channel(1);
    let off = Arc::new(Notify::new());
    let configured = argument("--config-file").map(|path| {
        let config: Value = serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap();
        config
    });
    if let (Some(description), Some(config)) = (&description, &configured) {
        description.check_config(config)?;
    }
    let guest = configured.as_ref().map(|config| Guest::new(config, false)).transpose()?;
    let state = if guest.is_some() { Vm::Running } else { Vm::NotStarted };
    let state = Mutex::new(Guarded { vm: state, config: configured, is_loaded: false });
    let reset = Arc::new(Notify::new());
    let saving = Duration::from_millis(if words.contains(SLOW) { 500 } else { 0 });
    let (of_vmm, reset_by) = (Arc::clone(&off), Arc::clone(&reset));
    let vmm = Vmm { state, begin, description, off: of_vmm, reset: reset_by, saving };
    let vmm = Arc::new(vmm);
    greet();
    if words.contains(MUTE) {
        std::future::pending::<()>().await;
    }
    if words.contains(RINGING) {
        for _ in 0..3000 {
            ring(&guest.as_ref().unwrap().bell).await;
        }
    }
    let agent = (!words.contains(NO_AGENT)).then(|| Agent::new(magic));
    tokio::spawn(async move {
        let guest = match guest {
            Some(guest) => guest,
            None => begun.recv().await.unwrap(),
        };
        match agent {
            Some(agent) => guest.serve(agent, &reset).await,
            None => std::future::pending().await,
        }
    });
    let router = Router::new().fallback(answer).with_state(vmm);
    let serve = axum::serve(api, router);
    serve.with_graceful_shutdown(async move { off.notified().await }).await.unwrap();
    Ok(())
}

fn bind(path: &str) -> Result<UnixListener, String> {
    UnixListener::bind(path).map_err(|error| format!("{path}: {error}"))
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
    port: u32,
    /// Whether it goes on from where it listened already.
    goes_on: bool,
}

impl Guest {
    fn new(config: &Value, goes_on: bool) -> Result<Self, String> {
        let (vsock, port) = (config["vsock"]["uds_path"].as_str().unwrap(), port_of(config));
        let bell = format!("{vsock}_{port}").into();
        Ok(Self { vsock: bind(vsock)?, bell, port, goes_on })
    }

    async fn serve(self, mut agent: Agent, reset: &Notify) {
        let port = self.port;
        // The host's ends of connections that a reset has cut off, of which it is not told.
        let mut dead = Vec::new();
        // How far the agent has come: who is not listening is not connected to.
        let mut listening = self.goes_on;
        loop {
            if !listening {
                let bell = self.bell.clone();
                listening = true;
                tokio::spawn(async move { ring(&bell).await });
            }
            let (mut host, _) = tokio::select! {
                biased;
                // There was nothing that it could cut off.
                () = reset.notified() => continue,
                accepted = self.vsock.accept() => accepted.unwrap(),
            };
            let mut asked = vec![0; 64];
            let length = host.read(&mut asked).await.unwrap();
            assert_eq!(asked[..length], *format!("CONNECT {port}\n").as_bytes());
            host.write_all(b"OK 1073741824\n").await.unwrap();
            let host = host.into_std().unwrap();
            let end = host.try_clone().unwrap();
            tokio::select! {
                exit = agent.serve(UnixStream::from_std(host).unwrap()) => match exit {
                    Exit::Link => {}
                    Exit::Restart => listening = false,
                    Exit::Death => {
                        drop(end);
                        return self.refuse().await;
                    }
                },
                () = reset.notified() => {
                    dead.push(end);
                    listening = false;
                }
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

/// How a VM is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vm {
    NotStarted,
    Running,
    Paused,
}

/// The VMM.
struct Vmm {
    state: Mutex<Guarded>,
    begin: mpsc::Sender<Guest>,
    description: Option<FirecrackerApi>,
    off: Arc<Notify>,
    /// Told when a guest hears that its connections are gone: once it goes on after it was saved.
    reset: Arc<Notify>,
    /// How long saving takes.
    saving: Duration,
}

/// What requests change.
struct Guarded {
    vm: Vm,
    /// Once it has one.
    config: Option<Value>,
    /// Whether its guest's memory is a file that is mapped.
    is_loaded: bool,
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
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut state = vmm.state.lock().await;
    let done = || StatusCode::NO_CONTENT.into_response();
    match (method, &*path) {
        (Method::GET, "/") => {
            let name = match state.vm {
                Vm::NotStarted => "Not started",
                Vm::Running => "Running",
                Vm::Paused => "Paused",
            };
            Json(json!({ "id": "x", "state": name, "vmm_version": "1.16.1" })).into_response()
        }
        (Method::PUT, "/actions") => {
            vmm.off.notify_one();
            done()
        }
        (Method::PATCH, "/vm") => {
            state.vm = if body["state"] == "Paused" { Vm::Paused } else { Vm::Running };
            done()
        }
        (Method::PUT, "/snapshot/create") => {
            if state.vm != Vm::Paused {
                return fault("the VM is not paused".to_owned());
            }
            tokio::time::sleep(vmm.saving).await;
            let config = state.config.as_ref().unwrap().to_string();
            fs_err::write(text(&body["snapshot_path"]), config).unwrap();
            let memory = text(&body["mem_file_path"]);
            match (body["snapshot_type"] == "Diff", state.is_loaded) {
                // All of it but what it began with, if there is such a thing.
                (true, true) => {
                    let file = fs_err::OpenOptions::new().write(true).open(memory).unwrap();
                    file.file().write_all_at(b"m", 0).unwrap();
                }
                _ => fs_err::write(memory, "memory").unwrap(),
            }
            vmm.reset.notify_one();
            done()
        }
        (Method::PUT, "/snapshot/load") => {
            assert_eq!(state.vm, Vm::NotStarted);
            let saved = fs_err::read(text(&body["snapshot_path"])).unwrap();
            let Ok(config) = serde_json::from_slice::<Value>(&saved) else {
                return fault("not a state".to_owned());
            };
            let memory = fs_err::read(text(&body["mem_backend"]["backend_path"])).unwrap();
            assert_eq!(memory, b"memory");
            let guest = Guest::new(&config, true).unwrap();
            *state = Guarded { vm: Vm::Paused, config: Some(config), is_loaded: true };
            if body["resume_vm"] == true {
                state.vm = Vm::Running;
                vmm.begin.send(guest).await.unwrap();
            }
            done()
        }
        (Method::PATCH, path) => {
            let drives = state.config.as_ref().unwrap()["drives"].as_array().unwrap();
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
