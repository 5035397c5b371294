//! A VM that runs, reached through its supervisor's sockets.
//!
//! One connection watches the state for as long as the handle lives. When it ends without having
//! told the VMM's end, the state file has the last word; when that says nothing either, the
//! supervisor was killed, and the kernel has killed its VMM.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use banger_proto::supervisor::{
    CONTROL_SOCKET, Command, LINK_SOCKET, Reply, STATE_FILE, SupervisorState, VmmExit,
};
use banger_proto::{ByteSize, VmId};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::leftovers;
use crate::hypervisor::{GuestStream, HypervisorError, RunningVm, VmProcesses};
use crate::supervise::identity::ProcessIdentity;
use crate::supervise::lines::LineReader;

/// Bytes in a state line at most: its stderr is 1 KiB before JSON escapes it.
const STATE_LIMIT: usize = 64 << 10;
/// How long a supervisor may take to answer. It never does anything slow.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// How long it may take to write a guest's memory. The supervisor's own deadline is shorter, and what it
/// says then tells more.
const SAVE_DEADLINE: Duration = Duration::from_secs(11 * 60);
/// How long to wait before asking again when this process has run out of descriptors or the
/// like: no event tells that there is room again.
const SHORTAGE_PAUSE: Duration = Duration::from_secs(1);

/// A VM with a supervisor.
#[derive(Debug)]
pub(super) struct SupervisedVm {
    vm: VmId,
    dir: PathBuf,
    state: watch::Receiver<SupervisorState>,
    _follower: AbortOnDropHandle<()>,
}

impl SupervisedVm {
    /// Connects to the supervisor in `dir`.
    ///
    /// # Errors
    /// When none answers there, or one that is not the VM's.
    pub(super) async fn connect(dir: &Path, vm: &VmId) -> io::Result<Self> {
        let mut watching = Watching::begin(dir).await?;
        let first = tokio::time::timeout(ANSWER_DEADLINE, watching.next()).await??;
        let first = first.ok_or(io::ErrorKind::UnexpectedEof)?;
        if first.vm != *vm {
            let other = first.vm;
            return Err(io::Error::other(format!("supervisor is that of VM `{other}`")));
        }
        let (sender, state) = watch::channel(first);
        let follower = tokio::spawn(follow(watching, sender, dir.to_owned()));
        let follower = AbortOnDropHandle::new(follower);
        Ok(Self { vm: vm.clone(), dir: dir.to_owned(), state, _follower: follower })
    }

    /// The state as last told.
    pub(super) fn state(&self) -> SupervisorState {
        self.state.borrow().clone()
    }

    /// Asks the supervisor and waits until it has done so.
    async fn ask(&self, command: Command) -> io::Result<()> {
        self.ask_within(ANSWER_DEADLINE, command).await
    }

    async fn ask_within(&self, deadline: Duration, command: Command) -> io::Result<()> {
        let asked = async {
            let mut connection = UnixStream::connect(self.dir.join(CONTROL_SOCKET)).await?;
            connection.write_all(&command_line(command)?).await?;
            let line = LineReader::new(connection, STATE_LIMIT).next_line().await?;
            match serde_json::from_slice(&line.ok_or(io::ErrorKind::UnexpectedEof)?)? {
                Reply::State(_) => Ok(()),
                Reply::Failed { error } => Err(io::Error::other(error)),
            }
        };
        tokio::time::timeout(deadline, asked).await?
    }

    /// As [`ask`](Self::ask), and says what was asked where it was not done.
    async fn have(
        &self,
        what: &'static str,
        deadline: Duration,
        command: Command,
    ) -> Result<(), HypervisorError> {
        self.ask_within(deadline, command).await.map_err(|error| {
            HypervisorError::because(format!("cannot {what} VM `{}`", self.vm), error)
        })
    }

    async fn ended(&self) -> VmmExit {
        let mut state = self.state.clone();
        match state.wait_for(|state| state.exit.is_some()).await.map(|state| state.exit.clone()) {
            Ok(Some(exit)) => exit,
            // The follower only ends after it has told an exit, unless it panicked.
            _ => unseen_exit(),
        }
    }

    async fn open_stream(&self) -> io::Result<GuestStream> {
        let mut state = self.state.clone();
        if state.wait_for(|state| state.link_up).await.is_err() {
            return std::future::pending().await; // The VMM's end, which this is raced with.
        }
        Ok(Box::new(UnixStream::connect(self.dir.join(LINK_SOCKET)).await?))
    }
}

impl RunningVm for SupervisedVm {
    fn dial(&self) -> BoxFuture<'_, Result<GuestStream, HypervisorError>> {
        async {
            tokio::select! {
                biased;
                exit = self.ended() => Err(HypervisorError::new(format!(
                    "VM `{}` ended: {}",
                    self.vm,
                    describe_exit(&exit)
                ))),
                stream = self.open_stream() => stream.map_err(|error| {
                    let vm = &self.vm;
                    HypervisorError::because(format!("cannot reach the agent of VM `{vm}`"), error)
                }),
            }
        }
        .boxed()
    }

    fn power_button(&self) -> BoxFuture<'_, Result<(), HypervisorError>> {
        async {
            self.ask(Command::PowerButton).await.map_err(|error| {
                let vm = &self.vm;
                HypervisorError::because(
                    format!("cannot press the power button of VM `{vm}`"),
                    error,
                )
            })
        }
        .boxed()
    }

    fn grow_disk(&self, disk: u32, size: ByteSize) -> BoxFuture<'_, Result<(), HypervisorError>> {
        async move {
            let asked = self.ask(Command::GrowDisk { disk, bytes: size.bytes() }).await;
            asked.map_err(|error| {
                let vm = &self.vm;
                HypervisorError::because(format!("cannot grow the disk of VM `{vm}`"), error)
            })
        }
        .boxed()
    }

    fn pause(&self) -> BoxFuture<'_, Result<(), HypervisorError>> {
        self.have("pause", ANSWER_DEADLINE, Command::Pause).boxed()
    }

    fn resume(&self) -> BoxFuture<'_, Result<(), HypervisorError>> {
        self.have("resume", ANSWER_DEADLINE, Command::Resume).boxed()
    }

    fn is_paused(&self) -> bool {
        self.state.borrow().paused
    }

    fn save<'a>(&'a self, directory: &'a Path) -> BoxFuture<'a, Result<(), HypervisorError>> {
        async move {
            let directory = directory.to_str().map(ToOwned::to_owned).ok_or_else(|| {
                let directory = directory.display();
                HypervisorError::new(format!("path `{directory}` is not UTF-8"))
            })?;
            self.have("save the state of", SAVE_DEADLINE, Command::Save { directory }).await
        }
        .boxed()
    }

    fn kill(&self) -> BoxFuture<'_, Result<(), HypervisorError>> {
        async {
            tokio::select! {
                biased;
                _ = self.ended() => return Ok(()),
                asked = self.ask(Command::Kill) => if asked.is_ok() {
                    // Told on another connection; the watched one says it in a moment.
                    self.ended().await;
                    return Ok(());
                },
            }
            // The supervisor is gone or stuck. Then nobody is left to ask.
            let state = self.state();
            for process in [Some(supervisor_of(&state)), vmm_of(&state)].into_iter().flatten() {
                process.end().await.map_err(|error| {
                    HypervisorError::because(format!("cannot kill VM `{}`", self.vm), error)
                })?;
            }
            self.ended().await;
            Ok(())
        }
        .boxed()
    }

    fn exited(&self) -> BoxFuture<'_, VmmExit> {
        self.ended().boxed()
    }

    fn processes(&self) -> Option<VmProcesses> {
        let state = self.state.borrow();
        Some(VmProcesses { vmm: vmm_of(&state)?, supervisor: supervisor_of(&state) })
    }
}

/// A `watch` connection.
struct Watching {
    lines: LineReader<OwnedReadHalf>,
    /// Closing it would say that nobody watches any more.
    _open: OwnedWriteHalf,
}

impl Watching {
    async fn begin(dir: &Path) -> io::Result<Self> {
        let connection = UnixStream::connect(dir.join(CONTROL_SOCKET)).await?;
        let (reader, mut writer) = connection.into_split();
        writer.write_all(&command_line(Command::Watch)?).await?;
        Ok(Self { lines: LineReader::new(reader, STATE_LIMIT), _open: writer })
    }

    async fn next(&mut self) -> io::Result<Option<SupervisorState>> {
        let Some(line) = self.lines.next_line().await? else { return Ok(None) };
        match serde_json::from_slice(&line)? {
            Reply::State(state) => Ok(Some(state)),
            Reply::Failed { error } => Err(io::Error::other(error)),
        }
    }
}

/// Passes states on until the VMM's end is among them.
async fn follow(watching: Watching, sender: watch::Sender<SupervisorState>, dir: PathBuf) {
    let mut watching = Some(watching);
    loop {
        if let Some(watching) = &mut watching {
            while let Ok(Some(state)) = watching.next().await {
                let over = state.exit.is_some();
                sender.send_replace(state);
                if over {
                    return;
                }
            }
        }
        // The connection is lost, which says nothing about the VM yet.
        let last = sender.borrow().clone();
        watching = Watching::begin(&dir).await.ok();
        if watching.is_none() {
            match exit_without_supervisor(&dir, &last).await {
                Ok(exit) => {
                    sender.send_replace(SupervisorState {
                        link_up: false,
                        paused: false,
                        exit: Some(exit),
                        ..last
                    });
                    return;
                }
                Err(error) => {
                    tracing::warn!(vm = %last.vm, %error, "cannot tell how the VM is");
                    tokio::time::sleep(SHORTAGE_PAUSE).await;
                }
            }
        }
    }
}

/// How the VMM ended whose supervisor is gone; waits until both are.
async fn exit_without_supervisor(dir: &Path, last: &SupervisorState) -> io::Result<VmmExit> {
    supervisor_of(last).gone().await?;
    let recorded = leftovers::load_state(&dir.join(STATE_FILE))
        .filter(|state| supervisor_of(state) == supervisor_of(last))
        .and_then(|state| state.exit);
    if let Some(exit) = recorded {
        return Ok(exit);
    }
    if let Some(vmm) = vmm_of(last) {
        vmm.end().await?;
    }
    Ok(unseen_exit())
}

/// The supervisor's process.
pub(super) fn supervisor_of(state: &SupervisorState) -> ProcessIdentity {
    let SupervisorState { supervisor_pid: pid, supervisor_start: start, .. } = *state;
    ProcessIdentity { pid, start }
}

/// The VMM's process.
pub(super) fn vmm_of(state: &SupervisorState) -> Option<ProcessIdentity> {
    Some(ProcessIdentity { pid: state.vmm_pid?, start: state.vmm_start? })
}

/// The exit of a VMM whose supervisor was killed: the kernel killed the VMM, nobody saw it.
fn unseen_exit() -> VmmExit {
    VmmExit { code: None, signal: None, killed: false, stderr: String::new() }
}

/// Says how a VMM ended, as a fragment.
pub(super) fn describe_exit(exit: &VmmExit) -> String {
    let how = match (exit.killed, exit.code, exit.signal) {
        (true, ..) => "it was killed".to_owned(),
        (false, Some(code), _) => format!("exit code {code}"),
        (false, None, Some(signal)) => format!("signal {signal}"),
        (false, None, None) => "its supervisor was killed".to_owned(),
    };
    match exit.stderr.trim() {
        "" => how,
        stderr => format!("{how}: {stderr}"),
    }
}

fn command_line(command: Command) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&command)?;
    line.push(b'\n');
    Ok(line)
}
