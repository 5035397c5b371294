//! The guest protocol: what host and agent say to each other on one stream of the guest link.
//!
//! A stream carries frames ([`frame`]). The opener, always the host today, sends one
//! [`Kind::Open`](frame::Kind::Open) frame naming a [`Service`]; the agent answers
//! [`Kind::Accepted`](frame::Kind::Accepted) with that service's reply or
//! [`Kind::Refused`](frame::Kind::Refused) with a [`Problem`](crate::Problem). What follows
//! depends on the service:
//!
//! | service | request | reply | then |
//! |---|---|---|---|
//! | hello | [`Hello`] | [`AgentHello`] | end |
//! | configure | [`GuestConfig`] | [`Configured`] | end |
//! | renew | [`GuestConfig`] | [`Configured`] | end |
//! | set_clock | [`SetClock`] | – (`{}`) | end |
//! | health | – | [`Health`] | end |
//! | watch | – | [`Health`] | one `Event` frame with a [`Health`] at every change |
//! | stats | – | [`GuestStats`] | end |
//! | system | – | [`SystemReport`], or null | end |
//! | exec | [`ExecRequest`] | [`ExecStarted`] | stdin ([by credit](StdinTaken)), signals, sizes; stdout, stderr … [`ExecExit`] |
//! | start_job | [`StartJob`] | [`Job`] | end; the job goes on |
//! | list_jobs | – | – (`{}`) | one `Event` frame with a [`Job`] for each, oldest first, then `End` |
//! | attach_job | [`AttachJob`] | [`Job`] | as exec, see [`AttachJob`]; the stream's end leaves the job alone |
//! | kill_job | [`KillJob`] | [`Job`] | end |
//! | unpack | [`UnpackRequest`] | – (`{}`) | `Data` frames of a tar stream, `End`, then one `Event` frame with [`Unpacked`] |
//! | copy_in | [`CopyRequest`] | – (`{}`) | `Data` frames of a tar stream, `End`, then one `Event` frame with [`Copied`] |
//! | copy_out | [`CopyRequest`] | – (`{}`) | from the agent: `Data` frames of a tar stream, then one `Event` frame with [`Copied`] |
//! | ssh | – | – (`{}`) | the bytes of an SSH connection, unframed, each direction with its own end |
//! | ports | – | – (`{}`) | one `Event` frame with a [`PortChange`] for every listener that is there, then `Settled`, then one for every change |
//! | forward | [`ForwardRequest`] | – (`{}`), once connected | the bytes of a TCP connection, unframed, each direction with its own end |
//! | survey | [`SurveyRequest`] | – (`{}`) | `Data` frames with what is known, `End`; from the agent `Data` frames with what is different, then one `Event` frame with [`Surveyed`] |
//! | git_objects | [`GitObjectsRequest`] | – (`{}`) | from the agent: `Data` frames with files, then one `Event` frame with [`Surveyed`] |
//! | grow_disk | [`GrowDiskRequest`] | [`DiskGrown`], once it is done | end |
//! | shutdown | [`ShutdownRequest`] | – (`{}`) | end; the VM powers off |
//!
//! A failure after `Accepted` is a `Refused` frame, the last of its stream. Both sides ignore
//! unknown fields, so that an older peer can be spoken to; unknown services are refused with
//! `unknown_method`.

mod clock;
pub mod cmdline;
mod config;
mod copy;
mod disk;
mod exec;
pub mod frame;
mod health;
mod job;
mod ports;
mod service;
mod ssh;
mod stats;
mod survey;
mod unpack;

use serde::{Deserialize, Serialize};

pub use clock::SetClock;
pub use config::{Configured, GuestConfig, GuestNetwork, InitChoice};
pub use copy::{Copied, CopyRequest};
pub use disk::{DiskGrown, GrowDiskRequest};
pub use exec::{
    ExecExit, ExecRequest, ExecStarted, MISE, NO_SHELL, STDIN_GRANT, STDIN_WINDOW, StdinTaken,
    TOOL_FILES, TerminalSize,
};
pub use health::{Health, InitKind, InitState};
pub use job::{AttachJob, Job, JobOutput, JobState, KillJob, Skipped, StartJob};
pub use ports::{
    ForwardRequest, ListenerProcess, MAX_LISTENERS, PortChange, PortListener, PortProtocol,
};
pub use service::{ServiceSpec, ServiceState};
pub use ssh::SshKeys;
pub use stats::{GuestStats, SystemReport};
pub use survey::{GitObjectsRequest, MAX_COMMITS, SurveyRequest, Surveyed, WORKSPACE_ID};
pub use unpack::{Replace, UnpackRequest, Unpacked};

/// What a stream is opened for; the JSON of an `Open` frame, tagged by `service`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "service", content = "request", rename_all = "snake_case")]
pub enum Service {
    /// First contact: generations and identity.
    Hello(Hello),
    /// The configuration of this boot; accepted once per boot.
    Configure(Box<GuestConfig>),
    /// The guest is another VM from now on: it was copied while it ran, and gets all of the
    /// configuration that says who it is. Its disks and its init stay, and what runs goes on; its
    /// service is started where none runs. Refused with `conflict` by a guest that is not
    /// configured or is going down.
    Renew(Box<GuestConfig>),
    /// Time has passed in which the guest did not run.
    SetClock(SetClock),
    /// How the guest is.
    Health,
    /// How the guest is, now and at every change.
    Watch,
    /// What the guest has used.
    Stats,
    /// What the guest's systemd says; null where the guest has none or it does not answer.
    System,
    /// Run a command.
    Exec(Box<ExecRequest>),
    /// Run a command that outlives this stream.
    StartJob(Box<StartJob>),
    /// The jobs that are known.
    ListJobs,
    /// Follow a job, or read what it wrote.
    AttachJob(AttachJob),
    /// Send a signal to a job.
    KillJob(KillJob),
    /// Write a tree of files.
    Unpack(UnpackRequest),
    /// Write files where a person wants them.
    CopyIn(CopyRequest),
    /// Read files.
    CopyOut(CopyRequest),
    /// A connection to the guest's SSH server.
    Ssh,
    /// The ports that programs listen at, now and at every change.
    Ports,
    /// A TCP connection to a port.
    Forward(ForwardRequest),
    /// Tell what changed in a repository.
    Survey(SurveyRequest),
    /// Read the objects of a repository.
    GitObjects(GitObjectsRequest),
    /// Use all of a writable disk that has become larger.
    GrowDisk(GrowDiskRequest),
    /// Power off or reboot, cleanly.
    Shutdown(ShutdownRequest),
}

impl Service {
    /// The service's name on the wire, for messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Configure(_) => "configure",
            Self::Renew(_) => "renew",
            Self::SetClock(_) => "set_clock",
            Self::Health => "health",
            Self::Watch => "watch",
            Self::Stats => "stats",
            Self::System => "system",
            Self::Exec(_) => "exec",
            Self::StartJob(_) => "start_job",
            Self::ListJobs => "list_jobs",
            Self::AttachJob(_) => "attach_job",
            Self::KillJob(_) => "kill_job",
            Self::Unpack(_) => "unpack",
            Self::CopyIn(_) => "copy_in",
            Self::CopyOut(_) => "copy_out",
            Self::Ssh => "ssh",
            Self::Ports => "ports",
            Self::Forward(_) => "forward",
            Self::Survey(_) => "survey",
            Self::GitObjects(_) => "git_objects",
            Self::GrowDisk(_) => "grow_disk",
            Self::Shutdown(_) => "shutdown",
        }
    }
}

/// What the host says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Newest protocol generation the host speaks.
    pub generation: u32,
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentHello {
    /// Generation both will use: the older of the two newest.
    pub generation: u32,
    /// Version of the agent.
    pub agent_version: String,
    /// The kernel's boot id (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// Whether this boot has been configured already (the host reconnected).
    pub configured: bool,
}

/// How to end the VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShutdownRequest {
    /// Boot again instead of powering off.
    #[serde(default)]
    pub reboot: bool,
    /// Milliseconds that the guest's service gets to end after its stop signal, before it is
    /// killed and the rest of the guest ends; absent for the agent's choice.
    #[serde(default)]
    pub service_grace_ms: Option<u64>,
}
