//! Daemon ↔ per-VM supervisor.
//!
//! The daemon writes a [`LaunchSpec`] to `launch.json` in the VM's runtime directory and starts
//! the supervisor with that path as its argument and one end of a socket pair, the *launch
//! channel*, as its standard input. On it the supervisor writes one [`LaunchReport`] line; the
//! daemon answers [`KEEP`]. Until that has arrived the launch is not kept: when the channel ends
//! before it, the supervisor ends the VMM and itself and leaves nothing.
//!
//! The supervisor owns the VMM and these files beside the launch file:
//!
//! | file | what |
//! |---|---|
//! | [`STATE_FILE`] | [`SupervisorState`], replaced atomically at every change |
//! | [`CONTROL_SOCKET`] | one JSON [`Command`] line from the client; `status` is answered with one [`SupervisorState`] line, `watch` with one now and one at every change until the VMM's end is told, `kill`, `power_button`, `grow_disk`, `pause`, `resume` and `save` with a state line once done; what cannot be done is answered with [`Reply::Failed`] |
//! | [`LOCK_FILE`] | locked (`flock`) by the supervisor while it owns the VM |
//! | [`LINK_SOCKET`] | each connection is one new stream to the agent, byte for byte; a connection made before the agent called waits; it is closed when the VMM ends |
//!
//! The supervisor ends after its VMM has ended and the last state is written; the sockets are
//! removed then, the state file stays for the daemon to read and remove.

use serde::{Deserialize, Serialize};

use crate::VmId;

/// Name of the launch file.
pub const LAUNCH_FILE: &str = "launch.json";
/// Name of the state file.
pub const STATE_FILE: &str = "supervisor.json";
/// Name of the control socket.
pub const CONTROL_SOCKET: &str = "supervisor.sock";
/// Name of the socket that gives streams to the agent.
pub const LINK_SOCKET: &str = "link.sock";

/// Name of the lock file.
pub const LOCK_FILE: &str = "supervisor.lock";

/// Name of a file with the saved state of a guest's processors and devices.
pub const SAVED_STATE: &str = "state";
/// Name of a file with a guest's memory, byte for byte; what is zero may be a hole.
pub const SAVED_MEMORY: &str = "memory";

/// What the daemon writes on the launch channel when it takes the VM over.
pub const KEEP: &[u8] = b"keep\n";

/// Descriptor in the VMM of one end of the guest link: a connected unix stream socket.
pub const LINK_FD: i32 = 8;
/// Descriptor in the VMM of one end of its control connection, likewise.
pub const CONTROL_FD: i32 = 9;

/// Descriptor in the VMM of a file in memory that is its guest's memory ([`LaunchSpec::memory`]).
pub const MEMORY_FD: i32 = 10;

/// How the host's end of the guest link is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkTransport {
    /// The VMM finds its end connected, as descriptor [`LINK_FD`]: nothing to listen on, nothing
    /// to wait for, and nobody else can connect.
    Inherited,
    /// By the VMM's virtio socket, once for each session.
    VirtioSocket {
        /// Name of the VMM's socket in the VM's runtime directory.
        socket: String,
        /// Port at which the agent listens.
        port: u32,
        /// Name of the supervisor's socket to which the VMM passes the agent's calls on.
        bell: String,
    },
}

/// How the VMM is asked for something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VmmControl {
    /// QMP on the socket that the VMM finds as descriptor [`CONTROL_FD`].
    Qmp,
    /// Firecracker's API.
    Firecracker {
        /// Name of its socket in the VM's runtime directory.
        socket: String,
    },
}

/// What a VMM counts of its devices' work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrics {
    /// Name of the pipe in the VM's runtime directory that the VMM writes it to.
    pub pipe: String,
    /// File in which it is kept, as the VMM has written it; rotated like the console log.
    pub log: String,
}

/// What a VMM goes on from, instead of having its guest boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedState {
    /// File with the state of the processors and devices.
    pub state: String,
    /// File with the guest's memory. A VMM that keeps it in a file ([`LaunchSpec::memory`]) gets a copy.
    pub memory: String,
    /// Tap of the card, which has its parent's name in the state; absent for a VM without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tap: Option<String>,
    /// Whether the guest stays paused.
    pub paused: bool,
}

/// Everything a supervisor needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchSpec {
    /// The VM.
    pub vm: VmId,
    /// Program and arguments of the VMM. Its standard output is the guest's console.
    pub vmm: Vec<String>,
    /// Whether the program is the helper that makes a jail for the VMM ([`crate::jail`]).
    #[serde(default)]
    pub jailed: bool,
    /// Where the guest link is.
    pub link: LinkTransport,
    /// How the VMM is controlled.
    pub control: VmmControl,
    /// The link's marker magic, 32 hexadecimal digits.
    pub link_magic: String,
    /// Console log; rotated to the same name with `.1` when it reaches `console_limit` bytes.
    pub console_log: String,
    /// Bytes of console kept in the current file at most.
    pub console_limit: u64,
    /// The supervisor's own log.
    pub log: String,
    /// What the VMM tells of its devices; absent for one that tells nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// Socket of the helper that moves the supervisor out of the daemon's service before it starts
    /// anything ([`Request::EnterScope`](crate::helper::Request::EnterScope)); absent where there is no
    /// such service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope_helper: Option<String>,
    /// Bytes of memory that VMM and supervisor have together at most, where they are in a scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
    /// Bytes of the guest's memory, for a VMM that keeps it in a file: the VMM finds that as descriptor
    /// [`MEMORY_FD`], and the supervisor saves what is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// What the guest goes on from; absent for a boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<SavedState>,
}

/// What a supervisor knows; also its state file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisorState {
    /// The VM.
    pub vm: VmId,
    /// The supervisor's process id.
    pub supervisor_pid: u32,
    /// Start time of that process in clock ticks after boot (field 22 of `/proc/PID/stat`), so
    /// that a reused pid is not taken for it.
    pub supervisor_start: u64,
    /// The VMM's process id, once started.
    pub vmm_pid: Option<u32>,
    /// Start time of the VMM, likewise.
    pub vmm_start: Option<u64>,
    /// Whether the agent has called and the link is up now.
    pub link_up: bool,
    /// Whether the guest stands still.
    #[serde(default)]
    pub paused: bool,
    /// How the VMM ended, once it has.
    pub exit: Option<VmmExit>,
}

/// How a VMM ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmmExit {
    /// Its exit code, when it exited.
    pub code: Option<i32>,
    /// The signal that ended it, when one did.
    pub signal: Option<i32>,
    /// Whether the supervisor was asked to kill it.
    pub killed: bool,
    /// Last bytes of its standard error (1 KiB at most), lossily decoded.
    pub stderr: String,
}

/// What a client asks of a supervisor: one JSON line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Tell the state.
    Status,
    /// Tell the state now and at every change.
    Watch,
    /// Press the guest's power button.
    PowerButton,
    /// Kill the VMM; answered when it is gone.
    Kill,
    /// Have the guest see a disk as large as it is to be, `bytes`, which must not be smaller than
    /// it is.
    GrowDisk {
        /// Place of the disk among those that the VMM was started with, from 0.
        disk: u32,
        /// Its size.
        bytes: u64,
    },
    /// Have the guest stand still; one that does already does so.
    Pause,
    /// Have it go on; one that runs does so.
    Resume,
    /// Write the state of a guest to files that are not there yet. The guest stands still from then on,
    /// whether it did before or not, and also where it fails.
    Save {
        /// Directory for them ([`SAVED_STATE`], [`SAVED_MEMORY`]).
        directory: String,
    },
}

/// How a control connection is answered: one JSON line each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reply {
    /// The state; where something was asked for, it is done.
    State(SupervisorState),
    /// It could not be done.
    Failed {
        /// Why, naming the object.
        error: String,
    },
}

/// How a start went: the one line that the supervisor writes on the launch channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaunchReport {
    /// The VMM runs and answers.
    Running(SupervisorState),
    /// The VMM ended at once.
    Ended(VmmExit),
    /// The supervisor could not start it.
    Failed(String),
}
