//! VMs: what is asked, what is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{GuestBranch, Publish, Setting, VmChange, WorkspaceMode};
use crate::guest::{InitKind, InitState, ServiceState, TerminalSize};
use crate::{ByteSize, Period, VmId, VmName};

/// Asks for a VM. Absent values are resolved from configuration, host and built-in defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateVm {
    /// Name; absent for a generated one.
    #[serde(default)]
    pub name: Option<VmName>,
    /// Image name.
    #[serde(default)]
    pub image: Option<String>,
    /// Kernel name.
    #[serde(default)]
    pub kernel: Option<String>,
    /// Virtual processors.
    #[serde(default)]
    pub vcpu: Option<u32>,
    /// Memory in bytes, whole MiB.
    #[serde(default)]
    pub memory: Option<ByteSize>,
    /// Size of the writable disk in bytes.
    #[serde(default)]
    pub disk_size: Option<ByteSize>,
    /// Bytes a second that it reads and writes of each of its disks at most; absent for as fast as it goes.
    #[serde(default)]
    pub disk_bandwidth: Option<ByteSize>,
    /// Reads and writes a second, likewise.
    #[serde(default)]
    pub disk_iops: Option<u32>,
    /// Environment of every command.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Repository to bring in.
    #[serde(default)]
    pub workspace: Option<WorkspaceSource>,
    /// Refuse to make the VM, if its workspace names tools ([`VmWorkspace::tools`]) and it does not reach
    /// what lies beyond the host: the caller is going to have mise install them.
    #[serde(default)]
    pub bootstrap: bool,
    /// Use the image's own program; absent for not at all.
    #[serde(default)]
    pub entrypoint: Option<Entrypoint>,
    /// Delete the VM when the connection of this request ends. The stream then stays open after
    /// `vm_ready`, and closing it is what ends the VM. A VM that never became ready is kept.
    #[serde(default)]
    pub ephemeral: bool,
    /// What ready means.
    #[serde(default)]
    pub wait: WaitFor,
    /// Make the VM without booting it: it is `stopped` then, and cannot have a workspace, which
    /// only a running guest takes.
    #[serde(default)]
    pub no_start: bool,
    /// Boot the VM, also where it could begin as a copy of one that has booted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cold: bool,
    /// Stop the VM when it has been idle for so many seconds, until somebody wants something of it; 0
    /// for never, absent for what is configured. An ephemeral VM goes with its request instead.
    #[serde(default)]
    pub idle_stop_seconds: Option<u32>,
    /// Pause the VM when it has been idle for so many seconds, until somebody wants something of it; as
    /// `idle_stop_seconds` otherwise. Where that is not longer, the VM is only stopped.
    #[serde(default)]
    pub idle_pause_seconds: Option<u32>,
    /// Start the VM when the host has started. An ephemeral VM cannot be.
    #[serde(default)]
    pub autostart: bool,
    /// Whether it reaches what lies beyond the host; absent for what is configured.
    #[serde(default)]
    pub nat: Option<bool>,
    /// Ports of the host's loopback address that it reaches, as `host.vm:PORT`.
    #[serde(default)]
    pub host_ports: BTreeSet<u16>,
    /// Ports of the host that lead to ports of the VM while it runs. One that cannot be had fails
    /// the start.
    #[serde(default)]
    pub publish: BTreeSet<Publish>,
}

/// How a VM uses its image's own program, the entrypoint or command in the image's configuration.
/// An image without one is refused before the VM boots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Entrypoint {
    /// It is going to be run as a command, by a call with [`ExecVm::entrypoint`].
    Attached,
    /// The agent runs it as a service: started at every boot once commands run, its output on
    /// the console. It gets the image's stop signal before the guest powers off.
    Service(EntrypointOptions),
}

/// How the image's own program runs as a service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EntrypointOptions {
    /// Arguments in the place of those that the image has for it.
    #[serde(default)]
    pub args: Vec<String>,
    /// Working directory; absent for the image's, or `/`.
    #[serde(default)]
    pub cwd: Option<String>,
    /// User to run as, by name or number, optionally with a group after `:`; absent for the
    /// image's, or root.
    #[serde(default)]
    pub user: Option<String>,
}

/// A command to run in a VM. What is absent comes from the VM and its image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExecVm {
    /// Program and arguments; empty for a shell. With `entrypoint`, arguments of the image's own
    /// program in the place of those that the image has for it.
    #[serde(default)]
    pub argv: Vec<String>,
    /// Run the image's own program, where and as whom the image says.
    #[serde(default)]
    pub entrypoint: bool,
    /// Variables on top of those of the image and the VM.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Working directory; absent for the workspace, else the image's, else the user's home.
    #[serde(default)]
    pub cwd: Option<String>,
    /// User to run as, by name or number, optionally with a group after `:`; absent for root
    /// where there is a workspace, else the image's user, else root.
    #[serde(default)]
    pub user: Option<String>,
    /// A terminal of this size instead of three pipes.
    #[serde(default)]
    pub terminal: Option<TerminalSize>,
    /// Whether `Stdin` frames follow; else standard input is empty.
    #[serde(default)]
    pub stdin: bool,
}

/// A git repository on the host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkspaceSource {
    /// Absolute path of the repository or of a directory in it.
    pub path: String,
    /// Bring files that git neither tracks nor ignores, too.
    #[serde(default)]
    pub include_untracked: bool,
    /// How much of it.
    #[serde(default)]
    pub mode: WorkspaceMode,
    /// The branch to make in the guest; absent for the host's.
    #[serde(default)]
    pub branch: Option<GuestBranch>,
}

/// Which readiness to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum WaitFor {
    /// Commands run in the final root.
    #[default]
    Agent,
    /// The image's own init says it has finished.
    System,
}

/// Asks for a stopped VM to be started.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StartVm {
    /// What ready means.
    #[serde(default)]
    pub wait: WaitFor,
}

/// Asks for a VM to be shut down, if it runs, and started again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RestartVm {
    /// As in [`StopVm`].
    #[serde(default)]
    pub grace_seconds: Option<u32>,
    /// What ready means.
    #[serde(default)]
    pub wait: WaitFor,
}

/// Asks for a VM to be deleted; in the query of the call.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema, utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct DeleteVm {
    /// Refuse with `conflict` unless the VM is down and nothing else was asked of it.
    #[serde(default)]
    pub only_down: bool,
}

/// What can be waited for of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum VmCondition {
    /// Commands run, also where they first wake a VM that is paused because nobody used it; waiting does
    /// not. A VM that is down is waited for, one in state `error` is a failure.
    #[default]
    Ready,
    /// The same, and the image's own init says it has finished.
    System,
    /// No VMM runs: state `stopped` or `error`.
    Stopped,
    /// The VM is there no more.
    Deleted,
}

impl VmCondition {
    /// What it is called in `VM is not …`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::System => "done with starting its system",
            Self::Stopped => "down",
            Self::Deleted => "deleted",
        }
    }
}

/// Asks to be answered when a VM is as wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WaitVm {
    /// How it is wanted.
    #[serde(default)]
    pub until: VmCondition,
    /// Seconds after which the answer is `timeout`; absent for never.
    #[serde(default)]
    pub timeout_seconds: Option<u32>,
}

/// Asks for a VM to be stopped.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StopVm {
    /// Seconds the guest gets to power off by itself before it is killed; absent for 30. Zero
    /// kills at once.
    #[serde(default)]
    pub grace_seconds: Option<u32>,
}

/// State of a VM as one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum StateName {
    /// Recorded, nothing made yet.
    Created,
    /// Image, kernel or disk are being made.
    Preparing,
    /// The VMM runs, the agent has not taken its configuration yet.
    Booting,
    /// Commands run.
    Running,
    /// It stands still, with all that runs in it.
    Paused,
    /// On its way down.
    Stopping,
    /// Down; its disk is kept.
    Stopped,
    /// Something failed; `problem` says what.
    Error,
}

impl StateName {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Preparing => "preparing",
            Self::Booting => "booting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Error => "error",
        }
    }
}

/// How a VM came to be down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum EndReason {
    /// The guest powered off.
    PoweredOff,
    /// It was killed on request.
    Killed,
    /// The VMM ended by itself; the text says how.
    Failed(String),
    /// Nobody saw it end (the host went down, the supervisor was killed).
    Lost,
    /// It does not run any more, and what was written down about its end is of no use; the text
    /// says why.
    Untold(String),
    /// It has never been started.
    NotStarted,
    /// It has the disk of a snapshot, and was not started since.
    Restored,
    /// It was stopped because it had been idle for so many seconds; whoever wants something of it starts
    /// it.
    Idle(Period),
}

/// What runs the VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Backend {
    /// `qemu` or `firecracker`.
    pub vmm: String,
    /// `kvm` or `tcg`.
    pub accel: String,
}

/// The guest as its agent tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GuestView {
    /// Who is process 1.
    pub init: InitKind,
    /// How far it is.
    pub state: InitState,
    /// The kernel's boot id.
    pub boot_id: String,
    /// The image's own program, where it runs as a service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceState>,
    /// Whether its agent has gone away, so that the rest is what it said last and commands do not
    /// run. The VM has to be restarted, unless the agent comes back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub agent_gone: bool,
}

/// The workspace of a VM, as it was brought in last.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VmWorkspace {
    /// Top of the repository on the host.
    pub host_path: String,
    /// Where it is in the guest.
    pub guest_path: String,
    /// Commit that was checked out in the guest; absent for a repository without commits.
    pub head: Option<String>,
    /// Branch that was checked out; absent when none was.
    pub branch: Option<String>,
    /// Commit that was checked out on the host, where that was another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_head: Option<String>,
    /// How much of the repository was brought in.
    #[serde(default)]
    pub mode: WorkspaceMode,
    /// The branch that was made for the guest, as it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_branch: Option<GuestBranch>,
    /// Whether files came along that git neither tracks nor ignores.
    #[serde(default)]
    pub include_untracked: bool,
    /// File at its top that names tools for mise; absent where none came along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<String>,
    /// When it was brought in, RFC 3339; absent for what an older daemon brought in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared_at: Option<String>,
}

/// A VM as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VmView {
    /// Identity.
    pub id: VmId,
    /// Name.
    pub name: VmName,
    /// State.
    pub state: StateName,
    /// Image name.
    pub image: String,
    /// Kernel name.
    pub kernel: String,
    /// Virtual processors.
    pub vcpu: u32,
    /// Memory in bytes.
    pub memory: ByteSize,
    /// Size of the writable disk in bytes.
    pub disk_size: ByteSize,
    /// Bytes a second that it reads and writes of each of its disks at most; absent for as fast as it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bandwidth: Option<ByteSize>,
    /// Reads and writes a second, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_iops: Option<u32>,
    /// What of this is not in force in the running guest; it is from the next start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<Setting>,
    /// Bytes the writable disk takes on the host.
    pub disk_used: ByteSize,
    /// What runs it.
    pub backend: Backend,
    /// Whether it goes when the request that made it ends.
    pub ephemeral: bool,
    /// Seconds of idleness after which it is stopped; absent for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_stop_seconds: Option<Period>,
    /// Whether it began as a copy of one that had booted, instead of booting.
    #[serde(default)]
    pub warm: bool,
    /// Seconds of idleness after which it is paused; absent for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_pause_seconds: Option<Period>,
    /// Where it is paused because it had been idle: for so many seconds. Whoever wants something of it
    /// wakes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_idle_seconds: Option<Period>,
    /// Whether it is started when the host has started.
    #[serde(default)]
    pub autostart: bool,
    /// Whether it reaches what lies beyond the host.
    #[serde(default)]
    pub nat: bool,
    /// Ports of the host's loopback address that it reaches, as `host.vm:PORT`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub host_ports: BTreeSet<u16>,
    /// Ports of the host that lead to its ports while it runs.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub published: BTreeSet<Publish>,
    /// Where the host reaches the ports that its programs listen at, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub loopback: Option<Ipv4Addr>,
    /// Its address among the VMs, while it runs and has a network card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub address: Option<Ipv4Addr>,
    /// The workspace, when it has one.
    pub workspace: Option<VmWorkspace>,
    /// The guest, while it runs.
    pub guest: Option<GuestView>,
    /// How it came to be down, when it is.
    pub ended: Option<EndReason>,
    /// Why its state is `error`.
    pub problem: Option<crate::Problem>,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// When it became ready last, RFC 3339.
    pub started_at: Option<String>,
    /// Path of its console log on the host.
    pub console_log: String,
    /// What became of it, oldest first: its last hundred changes. Empty in a list of VMs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<VmChange>,
}

impl VmView {
    /// Whether it rests because nobody used it, so that whoever wants something of it wakes it.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        self.paused_idle_seconds.is_some() || matches!(self.ended, Some(EndReason::Idle(_)))
    }
}

/// All VMs, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VmList {
    /// The VMs.
    pub vms: Vec<VmView>,
}
