//! A daemon that makes nothing and says everything: the interface's types, scripted answers.

mod files;
mod images;
mod insight;
mod jobs;
mod snapshots;
mod ssh;
mod system;
mod verbs;
mod workspace;

use std::os::unix::net::UnixListener as StdListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use banger_link::framed::{FrameReader, FrameWriter, framed};
use banger_proto::api::{
    CreateVm, DaemonStatus, DnsStatus, Event, ExecVm, ImageView, OP_ID_HEADER, Stage, StateName,
    VmEvent, VmList, VmView,
};
use banger_proto::guest::frame::Kind;
use banger_proto::guest::{ExecExit, STDIN_WINDOW, StdinTaken, TerminalSize};
use banger_proto::{API_VERSION, Code, Problem};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use crate::host::Host;

/// How long a test waits for something that has to happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

const OP_ID: &str = "0000000000aa";

/// A running fake.
pub(crate) struct Fake {
    shared: Arc<Shared>,
    /// The fake ends when this goes.
    _stop: oneshot::Sender<()>,
}

#[derive(Default)]
pub(crate) struct Shared {
    vms: Mutex<Vec<VmView>>,
    images: Mutex<Vec<ImageView>>,
    /// Whether nothing is asked of it.
    idle: AtomicBool,
    log: Mutex<Vec<String>>,
    logged: Condvar,
    news: insight::News,
}

impl Shared {
    pub(crate) fn log(&self, line: impl Into<String>) {
        self.log.lock().unwrap().push(line.into());
        self.logged.notify_all();
    }
}

impl Fake {
    /// Listens at the host's socket.
    pub(crate) fn start(host: &Host) -> Self {
        let shared = Arc::new(Shared::default());
        let listener = StdListener::bind(host.socket()).unwrap();
        listener.set_nonblocking(true).unwrap();
        let router = Router::new()
            .route("/v1/daemon", get(status))
            .route("/v1/vms", get(list).post(create))
            .route("/v1/vms/{vm}", get(show).delete(delete))
            .route("/v1/vms/{vm}/stop", post(stop))
            .route("/v1/vms/{vm}/start", post(start))
            .merge(verbs::routes())
            .route("/v1/vms/{vm}/logs", get(logs))
            .route("/v1/vms/{vm}/exec", post(exec))
            .merge(crate::fake_kernels::routes())
            .merge(files::routes())
            .merge(ssh::routes())
            .merge(images::routes())
            .merge(insight::routes())
            .merge(jobs::routes())
            .merge(snapshots::routes())
            .merge(system::routes())
            .merge(workspace::routes())
            .with_state(shared.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = UnixListener::from_std(listener).unwrap();
                tokio::select! {
                    served = axum::serve(listener, router) => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Self { shared, _stop: stop }
    }

    /// Adds a VM.
    pub(crate) fn with(self, id: &str, name: &str, state: StateName) -> Self {
        self.shared.vms.lock().unwrap().push(vm(id, name, state));
        self
    }

    /// Has nothing to do: one of another build would be replaced.
    pub(crate) fn idle(self) -> Self {
        self.shared.idle.store(true, Ordering::Relaxed);
        self
    }

    /// Adds an image.
    pub(crate) fn with_image(self, image: ImageView) -> Self {
        self.shared.images.lock().unwrap().push(image);
        self
    }

    /// Changes a VM.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut VmView)) {
        let mut vms = self.shared.vms.lock().unwrap();
        change(vms.iter_mut().find(|vm| vm.name.as_str() == name).unwrap());
    }

    /// Has a VM come to be in a state, and tells whoever listens to events.
    pub(crate) fn bring(&self, name: &str, state: StateName) {
        self.change(name, |vm| vm.state = state);
        let vm = find(&self.shared, name).unwrap();
        self.shared.news.tell(|seq| VmEvent::State {
            seq,
            at: "2026-08-05T12:00:00Z".into(),
            vm: vm.id,
            name: vm.name,
            state,
            guest: None,
            paused_idle_seconds: None,
            ended: None,
            problem: None,
        });
    }

    /// Waits until something was logged.
    pub(crate) fn wait_for(&self, line: &str) {
        let log = self.shared.log.lock().unwrap();
        let waited = self
            .shared
            .logged
            .wait_timeout_while(log, DEADLINE, |log| !log.iter().any(|logged| logged == line));
        let (log, timeout) = waited.unwrap();
        assert!(!timeout.timed_out(), "no `{line}` in {log:#?}");
    }

    /// Everything that was asked, in order.
    pub(crate) fn log(&self) -> Vec<String> {
        self.shared.log.lock().unwrap().clone()
    }
}

/// A VM whose age is zero on any clock this test may meet.
fn vm(id: &str, name: &str, state: StateName) -> VmView {
    serde_json::from_value(serde_json::json!({
        "id": id, "name": name, "state": state, "image": "debian-bookworm", "kernel": "debian",
        "vcpu": 2, "memory": 1u64 << 31, "disk_size": 8u64 << 30, "disk_used": 1_288_490_189u64,
        "backend": {"vmm": "qemu", "accel": "tcg"}, "ephemeral": false,
        "created_at": "2999-01-01T00:00:00Z", "console_log": "/state/console.log"
    }))
    .unwrap()
}

async fn status(State(shared): State<Arc<Shared>>) -> Json<DaemonStatus> {
    Json(DaemonStatus {
        version: "0.1.0".into(),
        api_version: API_VERSION,
        build: "fake".into(),
        // No process: nobody may wait for this one's end.
        pid: 0,
        started_at: "2026-08-05T12:00:00Z".into(),
        log: "/state/bangerd.log".into(),
        state_dir: "/state".into(),
        vms: 2,
        vms_running: 1,
        // An idle daemon of another build would be replaced.
        busy: u32::from(!shared.idle.load(Ordering::Relaxed)),
        dns: DnsStatus { listen: Some("127.0.0.1:42069".into()), problem: None },
        network: Default::default(),
    })
}

pub(crate) fn refuse(status: StatusCode, problem: Problem) -> Response {
    (status, [(OP_ID_HEADER, OP_ID)], Json(problem)).into_response()
}

fn unknown(name: &str) -> Response {
    let problem = Problem::new(Code::NotFound, format!("no VM `{name}`"))
        .cause("the list is all there is")
        .hint("`banger ls` shows all VMs");
    refuse(StatusCode::NOT_FOUND, problem)
}

fn find(shared: &Shared, reference: &str) -> Option<VmView> {
    let vms = shared.vms.lock().unwrap();
    vms.iter().find(|vm| vm.name.as_str() == reference || vm.id.as_str() == reference).cloned()
}

async fn list(State(shared): State<Arc<Shared>>) -> Json<VmList> {
    Json(VmList { vms: shared.vms.lock().unwrap().clone() })
}

async fn show(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    find(&shared, &name).map_or_else(|| unknown(&name), |vm| Json(vm).into_response())
}

async fn delete(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let Some(vm) = find(&shared, &name) else { return unknown(&name) };
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    shared.log(format!("delete {}{query}", vm.name));
    if vm.name.as_str() == "stuck" {
        let problem = Problem::new(Code::OperationFailed, "cannot remove the disk of `stuck`")
            .cause("permission denied");
        return refuse(StatusCode::INTERNAL_SERVER_ERROR, problem);
    }
    shared.vms.lock().unwrap().retain(|other| other.id != vm.id);
    let (id, name) = (vm.id.clone(), vm.name.clone());
    let at = "2026-08-05T12:00:00Z".to_owned();
    shared.news.tell(|seq| VmEvent::Deleted { seq, at, vm: id, name });
    Json(vm).into_response()
}

async fn stop(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    body: String,
) -> Response {
    let Some(vm) = find(&shared, &name) else { return unknown(&name) };
    shared.log(format!("stop {} {body}", vm.name));
    Json(vm).into_response()
}

async fn start(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    let Some(vm) = find(&shared, &name) else { return unknown(&name) };
    if vm.state == StateName::Running {
        let problem = Problem::new(Code::Conflict, format!("VM `{name}` runs already"));
        return refuse(StatusCode::CONFLICT, problem);
    }
    let stage = Stage::Boot;
    lines(&[
        Event::StageStarted { stage },
        Event::StageFinished { stage, millis: 700 },
        Event::VmReady { vm: Box::new(vm), millis: 840 },
    ])
    .into_response()
}

async fn logs(Path(name): Path<String>, request: Request) -> String {
    format!("console of {name}, {}\n\x1b[31mred\x1b[0m\n", request.uri().query().unwrap_or("-"))
}

fn line(event: &Event) -> Bytes {
    let mut line = serde_json::to_vec(event).unwrap();
    line.push(b'\n');
    line.into()
}

pub(crate) fn lines(events: &[Event]) -> Body {
    Body::from(events.iter().flat_map(line).collect::<Vec<u8>>())
}

/// Tells when the client has closed the stream it was given.
struct Held(Arc<Shared>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.log("create stream closed");
    }
}

/// `broken` fails, `slow` never becomes ready, an ephemeral VM's stream stays open.
async fn create(State(shared): State<Arc<Shared>>, Json(request): Json<CreateVm>) -> Response {
    let name = request.name.as_ref().map_or("calm-otter", |name| name.as_str()).to_owned();
    shared.log(format!("create {}", serde_json::to_string(&request).unwrap()));
    let mut vm = vm("0a0b0c0d0e0f", &name, StateName::Running);
    if let Some(source) = &request.workspace {
        vm.workspace = Some(banger_proto::api::VmWorkspace {
            host_path: source.path.clone(),
            guest_path: "/root/repo".into(),
            tools: jobs::bootstrap(&name).map(|_| "mise.toml".into()),
            ..Default::default()
        });
    }
    let (events, receiver) = mpsc::channel(16);
    let spec = "2 vcpu | 2048 MiB | 8G disk | qemu (no KVM: software emulation)".to_owned();
    let mut script = vec![
        Event::Planned { vm: Box::new(vm.clone()), spec },
        Event::StageStarted { stage: Stage::Boot },
    ];
    match name.as_str() {
        "broken" => script.push(Event::Failed {
            problem: Problem::new(Code::Timeout, "VM `broken` did not become ready in 90 s")
                .cause("console:\nKernel panic")
                .hint("`banger vm logs broken` shows its console"),
        }),
        "slow" => {}
        _ => {
            shared.vms.lock().unwrap().push(vm.clone());
            script.extend([
                Event::Progress { label: "fetching".into(), done: 1 << 20, total: Some(3 << 20) },
                Event::Notice { text: "3 untracked files stay behind".into() },
                Event::StageFinished { stage: Stage::Boot, millis: 700 },
                Event::VmReady { vm: Box::new(vm), millis: 840 },
            ]);
        }
    }
    for event in &script {
        events.send(line(event)).await.unwrap();
    }
    let held = request.ephemeral || name == "slow";
    let sender = held.then(|| (events, Held(shared)));
    let stream = futures_util::stream::unfold((receiver, sender), |(mut receiver, sender)| async {
        let line = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(line), (receiver, sender)))
    });
    let headers = [(OP_ID_HEADER, OP_ID), ("content-type", "application/x-ndjson")];
    (headers, Body::from_stream(stream)).into_response()
}

async fn exec(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    if find(&shared, &name).is_none() {
        return unknown(&name);
    }
    let (mut parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let asked: ExecVm = serde_json::from_slice(&body).unwrap();
    shared.log(format!("exec {}", serde_json::to_string(&asked).unwrap()));
    if asked.argv.first().is_some_and(|program| program == "refused") {
        return refuse(
            StatusCode::BAD_REQUEST,
            Problem::new(Code::BadRequest, "no user `nobody` in the guest"),
        );
    }
    let upgrade = parts.extensions.remove::<hyper::upgrade::OnUpgrade>().unwrap();
    tokio::spawn(async move {
        let (reader, writer) = framed(TokioIo::new(upgrade.await.unwrap()));
        let mut command = GuestCommand { reader, writer, shared };
        command.run(&asked).await;
        let _ = command.writer.shutdown().await;
    });
    (
        StatusCode::SWITCHING_PROTOCOLS,
        [
            (header::CONNECTION.as_str(), "upgrade"),
            (header::UPGRADE.as_str(), "banger-frames"),
            (OP_ID_HEADER, OP_ID),
        ],
    )
        .into_response()
}

/// A command in a guest that is not there.
struct GuestCommand {
    reader: FrameReader<ReadHalf<TokioIo<Upgraded>>>,
    writer: FrameWriter<WriteHalf<TokioIo<Upgraded>>>,
    shared: Arc<Shared>,
}

impl GuestCommand {
    async fn run(&mut self, asked: &ExecVm) {
        let argv: Vec<&str> = asked.argv.iter().map(String::as_str).collect();
        match argv.as_slice() {
            // A login shell that echoes what is typed, tells its size, and ends at `q`.
            [] if asked.terminal.is_some() => self.shell(asked.terminal.unwrap()).await,
            [] | ["cat"] => self.cat().await,
            ["exit", code] => self.exit(Some(code.parse().unwrap()), None).await,
            ["say"] => {
                self.say(Kind::Stdout, "out\n").await;
                self.say(Kind::Stderr, "err\n").await;
                self.exit(Some(0), None).await;
            }
            ["sleep"] => {
                self.say(Kind::Stdout, "asleep\n").await;
                self.sleep().await;
            }
            ["deaf"] => {
                self.say(Kind::Stdout, "asleep\n").await;
                let end = self.until_closed().await;
                self.shared.log(end);
            }
            ["yes"] => {
                while self.writer.send_bytes(Kind::Stdout, b"y\n").await.is_ok() {}
                self.shared.log("yes was hung up on");
            }
            ["gulp"] => self.gulp().await,
            ["vanish"] => {}
            other => panic!("no such command: {other:?}"),
        }
    }

    async fn say(&mut self, kind: Kind, text: &str) {
        self.writer.send_bytes(kind, text.as_bytes()).await.unwrap();
    }

    async fn exit(&mut self, code: Option<u8>, signal: Option<u8>) {
        self.writer.send_json(Kind::Exit, &ExecExit { code, signal }).await.unwrap();
    }

    async fn cat(&mut self) {
        while let Some(frame) = self.reader.next().await.unwrap() {
            match frame.kind {
                Kind::Stdin => {
                    self.writer.send_bytes(Kind::Stdout, &frame.payload).await.unwrap();
                    self.take(frame.payload.len()).await;
                }
                Kind::StdinEnd => return self.exit(Some(0), None).await,
                other => panic!("{other:?} for cat"),
            }
        }
    }

    /// Grants more input.
    async fn take(&mut self, bytes: usize) {
        let taken = StdinTaken { bytes: bytes as u64 };
        self.writer.send_json(Kind::StdinTaken, &taken).await.unwrap();
    }

    /// Takes no input before the first signal, then a byte, then all; says how much there was.
    async fn gulp(&mut self) {
        let mut bytes = 0;
        let mut signals = 0;
        while let Some(frame) = self.reader.next().await.unwrap() {
            match frame.kind {
                Kind::Stdin => {
                    let before = bytes;
                    bytes += frame.payload.len();
                    if bytes == STDIN_WINDOW {
                        self.say(Kind::Stdout, "asleep\n").await;
                    }
                    if signals > 0 {
                        self.take(bytes - before).await;
                    }
                }
                Kind::Signal if signals == 0 => {
                    signals = 1;
                    self.shared.log(format!("{bytes} bytes, then a signal"));
                    self.take(1).await;
                    let one = self.reader.next().await.unwrap().unwrap();
                    self.shared.log(format!("{:?} of {}", one.kind, one.payload.len()));
                    bytes += one.payload.len();
                    self.take(bytes).await;
                }
                Kind::Signal => return self.exit(None, Some(frame.payload[0])).await,
                Kind::StdinEnd => {
                    self.shared.log(format!("{bytes} bytes in all"));
                    return self.exit(Some(0), None).await;
                }
                other => panic!("{other:?} for gulp"),
            }
        }
    }

    /// Ends by the first signal.
    async fn sleep(&mut self) {
        while let Some(frame) = self.reader.next().await.unwrap() {
            if frame.kind == Kind::Signal {
                return self.exit(None, Some(frame.payload[0])).await;
            }
        }
    }

    /// Counts signals until the client goes.
    async fn until_closed(&mut self) -> String {
        let mut signals = 0;
        while let Ok(Some(frame)) = self.reader.next().await {
            if frame.kind == Kind::Signal {
                signals += 1;
                self.shared.log(format!("signal {signals}"));
            }
        }
        format!("gone after {signals} signals")
    }

    async fn shell(&mut self, size: TerminalSize) {
        self.say(Kind::Stdout, &format!("shell {}x{}\r\n", size.cols, size.rows)).await;
        while let Ok(Some(frame)) = self.reader.next().await {
            match frame.kind {
                Kind::Stdin if frame.payload == b"q" => return self.exit(Some(5), None).await,
                Kind::Stdin => self.say(Kind::Stdout, &format!("{:?}\r\n", frame.payload)).await,
                Kind::Resize => {
                    let size: TerminalSize = frame.parse().unwrap();
                    self.say(Kind::Stdout, &format!("now {}x{}\r\n", size.cols, size.rows)).await;
                }
                other => panic!("{other:?} for a shell"),
            }
        }
        self.shared.log("shell was hung up on");
    }
}
