//! The control socket: state for those who watch; power button, growing disks, standing still and kill for
//! those who ask.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::supervisor::{Command, Reply, SupervisorState};
use rustix::process::{Pid, geteuid};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinSet;

use super::accept::{Door, serve_each};
use super::guest_port::GuestPort;
use super::lines::LineReader;
use super::recorder::Recorder;
use super::state::StateBoard;
use super::vmm_control::{Control, ControlError};

/// Connections served at once.
const MAX_CLIENTS: usize = 64;
/// Bytes in a command at most.
const COMMAND_LIMIT: usize = 8 << 10;
/// How long a client may take to say what it wants.
const COMMAND_DEADLINE: Duration = Duration::from_secs(10);
/// How long a client may take to read a line.
const REPLY_DEADLINE: Duration = Duration::from_secs(10);
/// How long the VMM may take to press the power button, to look at a disk anew, to stop or to go on.
const VMM_DEADLINE: Duration = Duration::from_secs(5);

/// What commands act on.
#[derive(Debug)]
pub(super) struct Controls {
    /// The state.
    pub(super) board: StateBoard,
    /// The VMM.
    pub(super) vmm: Control,
    /// Its process.
    pub(super) pid: Pid,
    /// Where the agent listens, if the link is there.
    pub(super) port: Option<GuestPort>,
    /// Told when nobody is at the guest's end of the link any more.
    pub(super) agent_gone: Arc<Notify>,
    /// Held by who changes whether the guest stands still.
    pub(super) standing: Mutex<()>,
    /// Told when the VMM is to be killed.
    pub(super) kill: Notify,
}

/// Serves `listener` for as long as it is polled, never ending by itself; the connections live
/// on in `connections`.
pub(super) async fn serve(
    listener: UnixListener,
    controls: Arc<Controls>,
    connections: &mut JoinSet<()>,
    recorder: Recorder,
) -> Infallible {
    let owner = geteuid().as_raw();
    let door = Door { listener, name: "control", places: MAX_CLIENTS, owner };
    serve_each(door, connections, recorder, |client| {
        let controls = Arc::clone(&controls);
        async move { serve_client(client, &controls).await }
    })
    .await
}

async fn serve_client(client: UnixStream, controls: &Controls) -> io::Result<()> {
    let (reader, mut writer) = client.into_split();
    let mut lines = LineReader::new(reader, COMMAND_LIMIT);
    let line = tokio::time::timeout(COMMAND_DEADLINE, lines.next_line()).await??;
    let Some(line) = line else { return Ok(()) };
    let mut state = controls.board.watch();
    match serde_json::from_slice(&line) {
        Ok(Command::Status) => {
            let now = state.borrow().clone();
            reply(&mut writer, &Reply::State(now)).await
        }
        Ok(Command::Watch) => watch_state(lines, &mut writer, state).await,
        Ok(Command::PowerButton) => {
            let done = controls.vmm.power_button(VMM_DEADLINE).await;
            reply(&mut writer, &answer(done, &state)).await
        }
        Ok(Command::GrowDisk { disk, bytes }) => {
            let done = controls.vmm.resize_disk(disk, bytes, VMM_DEADLINE).await;
            reply(&mut writer, &answer(done, &state)).await
        }
        Ok(Command::Pause) => {
            let done = controls.pause().await;
            reply(&mut writer, &answer(done, &state)).await
        }
        Ok(Command::Resume) => {
            let done = controls.resume().await;
            reply(&mut writer, &answer(done, &state)).await
        }
        Ok(Command::Save { directory }) => {
            let done = controls.save(directory.as_ref()).await;
            reply(&mut writer, &answer(done, &state)).await
        }
        Ok(Command::Kill) => {
            controls.kill.notify_one();
            let over = state.wait_for(|state| state.exit.is_some()).await;
            let Ok(over) = over.map(|state| state.clone()) else { return Ok(()) };
            reply(&mut writer, &Reply::State(over)).await
        }
        Err(error) => {
            let error = format!("not a command: {error}");
            reply(&mut writer, &Reply::Failed { error }).await
        }
    }
}

impl Controls {
    async fn pause(&self) -> Result<(), ControlError> {
        let _standing = self.standing.lock().await;
        self.vmm.pause(self.pid, VMM_DEADLINE).await?;
        self.board.set_paused(true);
        Ok(())
    }

    async fn resume(&self) -> Result<(), ControlError> {
        let _standing = self.standing.lock().await;
        self.vmm.resume(self.pid, VMM_DEADLINE).await?;
        self.board.set_paused(false);
        self.release();
        Ok(())
    }

    /// Says that the guest goes on.
    pub(super) fn release(&self) {
        self.port.iter().for_each(GuestPort::release);
    }

    async fn save(&self, directory: &Path) -> Result<(), ControlError> {
        let _standing = self.standing.lock().await;
        // However it ends.
        self.board.set_paused(true);
        // A guest with a virtio socket is told that its connections are gone, the host is not. Whoever wants
        // one from now on waits for the next.
        self.port.iter().for_each(GuestPort::hold);
        self.end_session();
        let saved = self.vmm.save(directory, self.pid, VMM_DEADLINE).await;
        // One that was just coming up.
        self.end_session();
        saved
    }

    /// Ends the session of a guest with a virtio socket, if there is one.
    fn end_session(&self) {
        if self.port.is_some() && self.board.current().link_up {
            self.agent_gone.notify_one();
        }
    }
}

/// The answer to what the VMM was asked.
fn answer(done: Result<(), ControlError>, state: &watch::Receiver<SupervisorState>) -> Reply {
    match done {
        Ok(()) => Reply::State(state.borrow().clone()),
        Err(error) => Reply::Failed { error: error.to_string() },
    }
}

/// Tells every state until the VMM's end. A client that is slow misses states in between, never
/// the last one.
async fn watch_state(
    mut lines: LineReader<OwnedReadHalf>,
    writer: &mut OwnedWriteHalf,
    mut state: watch::Receiver<SupervisorState>,
) -> io::Result<()> {
    loop {
        let now = state.borrow_and_update().clone();
        let over = now.exit.is_some();
        reply(writer, &Reply::State(now)).await?;
        if over {
            return Ok(());
        }
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return Ok(()) },
            // Nothing more is expected: this is how a client's going away shows.
            _ = lines.next_line() => return Ok(()),
        }
    }
}

async fn reply(writer: &mut OwnedWriteHalf, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    tokio::time::timeout(REPLY_DEADLINE, writer.write_all(&line)).await?
}
