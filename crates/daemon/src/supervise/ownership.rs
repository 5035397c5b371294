//! Owning a VMM: the order of things from its start to its end.
//!
//! ```text
//!   start ──▶ starting ──VMM answers──▶ told ──KEEP──▶ kept ──VMM ends──▶ recorded ──▶ over
//!                │ no answer              │ channel ends                     ▲
//!                └────────────────────────┴───────▶ VMM killed ──────────────┘ nothing left
//! ```

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use banger_link::Magic;
use banger_proto::supervisor::{
    CONTROL_SOCKET, LINK_SOCKET, LaunchReport, LaunchSpec, LinkTransport, SavedState,
    SupervisorState, VmmControl,
};
use tokio::net::unix::pipe;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::control::{self, Controls};
use super::files::RuntimeFiles;
use super::guest_port::GuestPort;
use super::identity::ProcessIdentity;
use super::launch_channel::{LaunchChannel, Verdict};
use super::link::Link;
use super::memory::GuestMemory;
use super::recorder::{Finished, Recorder};
use super::state::StateBoard;
use super::vmm::{PassedSockets, Vmm};
use super::vmm_control::Control;
use super::{link, splice};
use crate::hypervisor::firecracker::api::Api;
use crate::hypervisor::qemu::qmp::{Qmp, QmpConnection};

/// How long a VMM may take until it answers on its control connection. It does in 50 ms on an
/// idle machine; this is for one that swaps.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long a VMM that has closed its control connection may take to end.
const END_DEADLINE: Duration = Duration::from_secs(1);
/// Bytes of metrics read at once.
const METRICS_CHUNK: usize = 4 << 10;
/// How long clients may take to read what the guest and the supervisor said last.
const FAREWELL_DEADLINE: Duration = Duration::from_millis(500);

/// Starts the VMM and serves until it has ended and everything is recorded.
///
/// # Errors
/// When it cannot be started. Nothing is left then.
pub(super) async fn own(
    spec: &LaunchSpec,
    files: RuntimeFiles,
    sockets: PassedSockets,
    channel: &mut LaunchChannel,
) -> io::Result<()> {
    let files = Arc::new(files);
    let started = start(spec, &files, sockets);
    let Started { vmm, board, recorder, finished, services } = match started {
        Ok(started) => started,
        Err(error) => {
            files.remove_all()?;
            return Err(error);
        }
    };
    recorder.log(format_args!("`{}` runs as process {}", spec.vmm[0], vmm.pid()));
    let kept = serve(vmm, services, &board, &recorder, channel).await;
    if !kept && let Err(error) = files.remove_all() {
        recorder.log(format_args!("cannot remove the runtime files: {error}"));
    }
    recorder.close();
    // A disk that hangs must not keep the supervisor.
    let _ = timeout(FAREWELL_DEADLINE, finished.wait()).await;
    Ok(())
}

/// What a start makes.
struct Started {
    vmm: Vmm,
    board: StateBoard,
    recorder: Recorder,
    finished: Finished,
    services: Services,
}

/// What is served while the VMM runs.
struct Services {
    control_listener: UnixListener,
    link_listener: UnixListener,
    link: Link,
    /// Where the agent says that it can be connected to.
    rings: Option<(GuestPort, UnixListener)>,
    magic: Magic,
    control: Control,
    /// What the guest goes on from.
    saved: Option<SavedState>,
    /// What QEMU says on its control connection.
    qmp_events: Option<QmpConnection>,
    /// Into which the VMM writes what it counts.
    metrics: Option<pipe::Receiver>,
    signals: Signals,
}

/// Signals that the supervisor listens for.
struct Signals {
    terminate: Signal,
    /// Being listened for is what keeps this one and the next from ending the process.
    hangup: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

fn start(
    spec: &LaunchSpec,
    files: &Arc<RuntimeFiles>,
    mut sockets: PassedSockets,
) -> io::Result<Started> {
    let magic = spec.link_magic.parse::<Magic>().map_err(io::Error::other)?;
    let metrics = spec.metrics.as_ref();
    let (recorder, finished) = Recorder::start(
        spec.console_log.as_ref(),
        spec.console_limit,
        spec.log.as_ref(),
        metrics.map(|metrics| metrics.log.as_ref()),
    )?;
    // Sockets first: whoever sees the VMM can also reach its supervisor.
    let control_listener = files.bind(CONTROL_SOCKET)?;
    let link_listener = files.bind(LINK_SOCKET)?;
    let metrics = metrics.map(|metrics| files.make_pipe(&metrics.pipe)).transpose()?;
    let signals = Signals::listen()?;
    let memory = make_memory(spec)?;
    if let Some(memory) = &memory {
        sockets.pass_memory(memory)?;
    }
    let mut rings = None;
    let (link, passed) = match &spec.link {
        LinkTransport::Inherited => (Link::Inherited(sockets.link), sockets.passed),
        LinkTransport::VirtioSocket { socket, port, bell } => {
            let port = GuestPort::new(files.vacate(socket)?, *port);
            rings = Some((port.clone(), files.bind(bell)?));
            (Link::Guest(port), Vec::new())
        }
    };
    let (control, qmp_events) = match &spec.control {
        VmmControl::Qmp => {
            let (qmp, connection) = Qmp::new(UnixStream::from_std(sockets.control)?);
            let filling = memory.as_ref().zip(spec.saved.as_ref());
            let filling = filling.map(|(memory, saved)| memory.fill(saved.memory.as_ref()));
            (Control::qemu(qmp, memory, filling), Some(connection))
        }
        VmmControl::Firecracker { socket } => {
            (Control::firecracker(Api::new(files.vacate(socket)?)), None)
        }
    };
    let vmm = Vmm::start(spec, files.dir(), passed, sockets.report, &recorder)?;
    let start_of = |pid| ProcessIdentity::observe(pid).map(|identity| identity.start);
    let state = SupervisorState {
        vm: spec.vm.clone(),
        supervisor_pid: std::process::id(),
        supervisor_start: start_of(std::process::id()).unwrap_or_default(),
        vmm_pid: Some(vmm.pid()),
        vmm_start: start_of(vmm.pid()),
        link_up: false,
        paused: false,
        exit: None,
    };
    let board = StateBoard::new(state, Arc::clone(files), recorder.clone());
    let services = Services {
        control_listener,
        link_listener,
        link,
        rings,
        magic,
        control,
        saved: spec.saved.clone(),
        qmp_events,
        metrics,
        signals,
    };
    Ok(Started { vmm, board, recorder, finished, services })
}

/// The guest's memory, where the VMM does not make it.
fn make_memory(spec: &LaunchSpec) -> io::Result<Option<GuestMemory>> {
    let Some(bytes) = spec.memory else { return Ok(None) };
    let memory = GuestMemory::make(bytes).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot have the guest's memory: {error}"))
    });
    memory.map(Some)
}

/// How far the daemon has taken the VM over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The VMM has not answered yet.
    Starting,
    /// The daemon has been told that it runs, or that it does not.
    Told,
    /// The daemon keeps it.
    Kept,
}

/// Serves until the VMM has ended; tells whether the daemon had kept it.
async fn serve(
    mut vmm: Vmm,
    services: Services,
    board: &StateBoard,
    recorder: &Recorder,
    channel: &mut LaunchChannel,
) -> bool {
    let (sessions_sender, sessions) = watch::channel(None);
    // Ended with this function.
    let mut upkeep = JoinSet::new();
    let agent_gone = Arc::new(Notify::new());
    let link_over = CancellationToken::new();
    upkeep.spawn(link::keep_sessions(
        services.link,
        services.magic,
        sessions_sender,
        Arc::clone(&agent_gone),
        link_over.clone(),
        board.clone(),
        recorder.clone(),
    ));
    let port = services.rings.as_ref().map(|(port, _)| port.clone());
    if let Some((port, bell)) = services.rings {
        let recorder = recorder.clone();
        upkeep.spawn(async { match port.listen(bell, recorder).await {} });
    }
    if let Some(connection) = services.qmp_events {
        upkeep.spawn(heed_qmp(connection, Arc::clone(&agent_gone), recorder.clone()));
    }
    if let Some(metrics) = services.metrics {
        upkeep.spawn(keep_metrics(metrics, recorder.clone()));
    }

    let vmm_control = services.control;
    let controls = Arc::new(Controls {
        board: board.clone(),
        vmm: vmm_control,
        pid: vmm.pid,
        port,
        agent_gone,
        standing: Mutex::default(),
        kill: Notify::new(),
    });
    let mut control_clients = JoinSet::new();
    let mut link_clients = JoinSet::new();
    let mut phase = Phase::Starting;
    let mut signals = services.signals;
    let status = tokio::select! {
        never = control::serve(
            services.control_listener,
            Arc::clone(&controls),
            &mut control_clients,
            recorder.clone(),
        ) => match never {},
        never = splice::serve(
            services.link_listener,
            sessions,
            &mut link_clients,
            recorder.clone(),
        ) => match never {},
        status = watch_over(
            &mut vmm,
            &mut phase,
            &controls,
            services.saved.as_ref(),
            &mut signals,
            recorder,
            channel,
        ) => status,
    };
    link_over.cancel();
    // What the guest said last is still on its way through the link.
    finish(link_clients).await;
    let exit = vmm.into_exit(status).await;
    recorder.log(format_args!("VMM ended: {exit:?}"));
    board.set_exit(exit.clone());
    if phase == Phase::Starting {
        channel.report(&LaunchReport::Ended(exit)).await;
    }
    finish(control_clients).await;
    phase == Phase::Kept
}

/// Waits for the VMM's end, and brings it about when somebody wants it.
async fn watch_over(
    vmm: &mut Vmm,
    phase: &mut Phase,
    controls: &Controls,
    saved: Option<&SavedState>,
    signals: &mut Signals,
    recorder: &Recorder,
    channel: &mut LaunchChannel,
) -> io::Result<ExitStatus> {
    let mut wanted = true;
    let answered = controls.vmm.begin(saved, START_DEADLINE);
    tokio::pin!(answered);
    loop {
        tokio::select! {
            status = vmm.ended() => return status,
            answer = &mut answered, if *phase == Phase::Starting => match answer {
                Ok(()) => {
                    *phase = Phase::Told;
                    match saved {
                        Some(SavedState { paused: true, .. }) => controls.board.set_paused(true),
                        Some(_) => controls.release(),
                        None => {}
                    }
                    let state = controls.board.current();
                    channel.report(&LaunchReport::Running(state)).await;
                }
                Err(error) => {
                    // It most likely ends; how it does tells more than its silence.
                    if let Ok(status) = timeout(END_DEADLINE, vmm.ended()).await {
                        return status;
                    }
                    *phase = Phase::Told;
                    channel.report(&LaunchReport::Failed(error.to_string())).await;
                    vmm.kill();
                }
            },
            verdict = channel.verdict(), if wanted && *phase != Phase::Kept => match verdict {
                Verdict::Kept => *phase = Phase::Kept,
                Verdict::Abandoned => {
                    recorder.log("nobody keeps the launch");
                    wanted = false;
                    vmm.kill();
                }
            },
            () = controls.kill.notified() => {
                recorder.log("asked to kill the VMM");
                vmm.kill();
            }
            _ = signals.terminate.recv() => {
                recorder.log("terminated: killing the VMM");
                vmm.kill();
            }
            _ = signals.hangup.recv() => {}
            _ = signals.interrupt.recv() => {}
        }
    }
}

/// Logs what the VMM says, and passes on that the agent has gone: its port carries bytes to
/// whoever opens it, so the link itself does not show that nobody has it open.
async fn heed_qmp(connection: QmpConnection, agent_gone: Arc<Notify>, recorder: Recorder) {
    let ran = connection
        .run(|event| {
            if event.is_port_closed() {
                agent_gone.notify_one();
            }
            let reason = event.reason.unwrap_or_default();
            recorder.log(format_args!("VMM says {} {reason}", event.name));
        })
        .await;
    if let Err(error) = ran {
        recorder.log(format_args!("control connection: {error}"));
    }
}

/// Keeps what the VMM counts, for as long as it is polled.
async fn keep_metrics(metrics: pipe::Receiver, recorder: Recorder) {
    let mut buffer = vec![0; METRICS_CHUNK];
    loop {
        match metrics.readable().await.and_then(|()| metrics.try_read(&mut buffer)) {
            Ok(read) => recorder.metrics(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return recorder.log(format_args!("metrics: {error}")),
        }
    }
}

/// Lets clients finish what is under way, within bounds.
async fn finish(mut clients: JoinSet<()>) {
    let all = async { while clients.join_next().await.is_some() {} };
    // Those that are late are cut off by the set's drop.
    let _ = timeout(FAREWELL_DEADLINE, all).await;
}
