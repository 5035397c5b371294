//! The named steps of everything that is done to a VM, and who follows them.
//!
//! A step is entered right before something happens that a daemon killed at this moment would
//! leave half done. Each is told to the log. If a program listens at the socket that
//! `BANGER_STEPS` names, it is told, too, and the step waits for it: so a test can let the world
//! fall apart between any two steps and see what becomes of the VM. It reads the steps' names
//! from the daemon, so that a new step is tested without being listed anywhere.
//!
//! ```text
//!  driver ──enter──▶ connect ──"create.disk web\n"──▶ follower
//!                      └──────── until it hangs up ◀──────┘
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use banger_proto::api::ChangeCause;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// What is done to a VM as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It is made, and booted unless that is not wanted.
    Create,
    /// It is booted.
    Start,
    /// A command is started in it.
    Exec,
    /// It is brought down by its guest.
    Stop,
    /// The same, because nobody used it.
    Idle,
    /// It is made to stand still.
    Pause,
    /// It goes on.
    Resume,
    /// It is brought down as it stands.
    Kill,
    /// What it is is changed.
    Set,
    /// It is saved, for a snapshot or for copies of it.
    Snapshot,
    /// It is taken back to a snapshot.
    Restore,
    /// It is removed.
    Delete,
    /// It went down by itself.
    End,
    /// A daemon that has just started finds it.
    Recover,
    /// What is left of one that has no record is removed.
    Gc,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Exec => "exec",
            Self::Stop => "stop",
            Self::Idle => "idle",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Kill => "kill",
            Self::Set => "set",
            Self::Snapshot => "snapshot",
            Self::Restore => "restore",
            Self::Delete => "delete",
            Self::End => "end",
            Self::Recover => "recover",
            Self::Gc => "gc",
        }
    }
}

impl From<ChangeCause> for Operation {
    fn from(cause: ChangeCause) -> Self {
        match cause {
            ChangeCause::Create => Self::Create,
            ChangeCause::Start => Self::Start,
            ChangeCause::Stop => Self::Stop,
            ChangeCause::Idle => Self::Idle,
            ChangeCause::Pause => Self::Pause,
            // One that is down is started.
            ChangeCause::Resume | ChangeCause::Wake => Self::Resume,
            ChangeCause::Kill => Self::Kill,
            ChangeCause::Set => Self::Set,
            ChangeCause::Snapshot => Self::Snapshot,
            ChangeCause::Restore => Self::Restore,
            ChangeCause::Delete => Self::Delete,
            ChangeCause::Itself => Self::End,
            ChangeCause::Recovery => Self::Recover,
        }
    }
}

/// What is about to happen. Operations share steps: whatever removes a VMM enters the same ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The VM is recorded, which takes its name.
    Record,
    /// The image is looked up, or fetched.
    Image,
    /// The kernel is looked up, or fetched.
    Kernel,
    /// The writable disk is made.
    Disk,
    /// The VM gets its place on the network.
    Network,
    /// The VMM is recorded as something that will have to be removed, and started.
    Launch,
    /// The supervisor runs and has not reported yet.
    Report,
    /// The VMM runs; its supervisor is told to go on without this daemon.
    Keep,
    /// The agent is waited for.
    Greet,
    /// The agent is told what its guest is to be.
    Configure,
    /// The host's files are copied in.
    FileSync,
    /// The repository is brought in.
    Workspace,
    /// The image's own init is waited for.
    System,
    /// The file that is the writable disk is grown.
    GrowFile,
    /// The guest is told that its disk has grown.
    GrowGuest,
    /// The VMM is told to have its guest stand still.
    HoldGuest,
    /// The VMM is told to let its guest go on.
    FreeGuest,
    /// The VMM writes its guest's memory, which stands still for it.
    SaveGuest,
    /// The disk of a guest that stands still is copied.
    CopyDisk,
    /// A VMM tries whether a guest goes on from what was written.
    Prove,
    /// What was written is kept under its name.
    KeepSnapshot,
    /// The guest is asked to power off.
    PowerOff,
    /// The VMM is ended, if it has not ended by itself.
    EndVmm,
    /// What the VMM left in the runtime directory is removed.
    CleanUp,
    /// The VM's place on the network is taken away.
    Unplug,
    /// Disk and console log are removed.
    RemoveDisk,
    /// The record is removed, which frees the name.
    Forget,
    /// The state that the VM is in now is recorded.
    Settle,
    /// The guest's answer to a command's start is waited for.
    Command,
    /// Everything is done; whoever asked is told.
    Answer,
}

impl Step {
    fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Image => "image",
            Self::Kernel => "kernel",
            Self::Disk => "disk",
            Self::Network => "network",
            Self::Launch => "launch",
            Self::Report => "report",
            Self::Keep => "keep",
            Self::Greet => "greet",
            Self::Configure => "configure",
            Self::FileSync => "file-sync",
            Self::Workspace => "workspace",
            Self::System => "system",
            Self::GrowFile => "grow-file",
            Self::GrowGuest => "grow-guest",
            Self::HoldGuest => "hold-guest",
            Self::FreeGuest => "free-guest",
            Self::SaveGuest => "save-guest",
            Self::CopyDisk => "copy-disk",
            Self::Prove => "prove",
            Self::KeepSnapshot => "keep-snapshot",
            Self::PowerOff => "power-off",
            Self::EndVmm => "end-vmm",
            Self::CleanUp => "clean-up",
            Self::Unplug => "unplug",
            Self::RemoveDisk => "remove-disk",
            Self::Forget => "forget",
            Self::Settle => "settle",
            Self::Command => "command",
            Self::Answer => "answer",
        }
    }
}

/// Who follows the steps of all VMs. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Followers(Option<Arc<PathBuf>>);

impl Followers {
    /// Whoever listens at `socket`; nobody without one.
    #[must_use]
    pub fn at(socket: Option<PathBuf>) -> Self {
        Self(socket.map(Arc::new))
    }

    /// The walk of one VM, called by its name or else its id, through the steps of `operation`.
    #[must_use]
    pub fn walk(&self, vm: &impl ToString, operation: Operation) -> Walk {
        Walk { followers: self.clone(), vm: vm.to_string(), operation }
    }
}

/// One VM on its way through the steps of an operation.
#[derive(Debug, Clone)]
pub struct Walk {
    followers: Followers,
    vm: String,
    operation: Operation,
}

impl Walk {
    /// From now on, the steps are those of `operation`.
    pub(crate) fn begin(&mut self, operation: Operation) {
        self.operation = operation;
    }

    /// Says that `step` is about to happen; returns when whoever follows allows it.
    pub async fn enter(&self, step: Step) {
        let (operation, step) = (self.operation.as_str(), step.as_str());
        tracing::debug!(vm = %self.vm, operation, step, "step");
        let Some(socket) = &self.followers.0 else { return };
        let Ok(mut follower) = UnixStream::connect(&**socket).await else { return };
        // A follower that goes away follows no longer; nothing depends on it.
        let told = follower.write_all(format!("{operation}.{step} {}\n", self.vm).as_bytes()).await;
        if told.is_ok() {
            let _ = follower.read(&mut [0]).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncBufReadExt, BufReader};
    use tokio::net::UnixListener;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_step_waits_for_whoever_follows_and_for_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("steps.sock");
        Followers::default().walk(&"web", Operation::Stop).enter(Step::PowerOff).await;
        let walk = Followers::at(Some(socket.clone())).walk(&"web", Operation::Create);
        walk.enter(Step::Disk).await;

        let listener = UnixListener::bind(&socket).unwrap();
        let entered = tokio::spawn(async move { walk.enter(Step::Disk).await });
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        assert_eq!(line, "create.disk web\n");
        assert!(!entered.is_finished());
        drop(stream);
        timeout(Duration::from_secs(10), entered).await.unwrap().unwrap();
    }
}
