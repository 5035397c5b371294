//! What VMs use, and how their guests are.

use serde::{Deserialize, Serialize};

use super::StateName;
use crate::guest::{InitKind, InitState, ServiceState, SystemReport};
use crate::{ByteSize, VmId, VmName};

/// An agent that answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pong {
    /// The VM.
    pub id: VmId,
    /// Its name.
    pub name: VmName,
    /// Version of the agent.
    pub agent_version: String,
    /// Microseconds from the daemon's question to the agent's answer.
    pub micros: u64,
}

/// How a guest is, as its agent tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VmHealth {
    /// The VM.
    pub id: VmId,
    /// Its name.
    pub name: VmName,
    /// Whether nothing in the guest has failed: neither a unit of its systemd nor its service.
    pub healthy: bool,
    /// Version of the agent.
    pub agent_version: String,
    /// The kernel's boot id.
    pub boot_id: String,
    /// Milliseconds since the kernel started.
    pub uptime_ms: u64,
    /// Who is process 1.
    pub init: Option<InitKind>,
    /// How far it is.
    pub state: InitState,
    /// Commands running now, the service among them.
    pub commands: u32,
    /// The image's own program, where it runs as a service.
    pub service: Option<ServiceState>,
    /// What systemd says; absent where there is none or it does not answer.
    pub system: Option<SystemReport>,
    /// The guest's memory; absent where the agent is too old to tell.
    pub memory: Option<Usage>,
    /// The file system that the guest writes to; absent likewise.
    pub disk: Option<Usage>,
}

/// How much of something is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// Bytes used.
    pub used: ByteSize,
    /// Bytes there are.
    pub total: ByteSize,
}

/// What VMs used between two looks at them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatsReport {
    /// When the second look was, RFC 3339.
    pub at: String,
    /// Milliseconds between the two.
    pub interval_ms: u64,
    /// The VMs, oldest first.
    pub vms: Vec<VmStats>,
}

/// What one VM uses. Of a VM that does not run, only what it is made of and its disk are known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VmStats {
    /// Identity.
    pub id: VmId,
    /// Name.
    pub name: VmName,
    /// State.
    pub state: StateName,
    /// Virtual processors.
    pub vcpu: u32,
    /// Memory it is given, in bytes.
    pub memory: ByteSize,
    /// Its writable disk on the host: what it takes, and what it can take.
    pub disk: Usage,
    /// What it costs the host; absent while it does not run.
    pub host: Option<HostStats>,
    /// What its guest uses; absent while it does not run, or does not answer.
    pub guest: Option<GuestUse>,
}

/// What a VM costs the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostStats {
    /// The VMM, with the guest in it.
    pub vmm: ProcessStats,
    /// The VMM's supervisor.
    pub supervisor: ProcessStats,
    /// Their control group; absent unless they have one to themselves.
    pub group: Option<GroupStats>,
}

/// What a control group counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GroupStats {
    /// Its path in the hierarchy (cgroup v2).
    pub path: String,
    /// Processor time between the two looks, 100 for one processor that did nothing else;
    /// absent when they were in another at the first.
    pub cpu_percent: Option<f64>,
    /// Processor time since it was made, in milliseconds.
    pub cpu_ms: u64,
    /// Memory, page cache and the kernel's share included, in bytes; absent where it is not
    /// counted.
    pub memory: Option<ByteSize>,
    /// Bytes read from block devices; absent where they are not counted.
    pub read: Option<ByteSize>,
    /// Bytes written to block devices; absent likewise.
    pub written: Option<ByteSize>,
}

/// A process of the host, all its threads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProcessStats {
    /// Process id.
    pub pid: u32,
    /// Processor time between the two looks, 100 for one processor that did nothing else;
    /// absent when it was not there at the first.
    pub cpu_percent: Option<f64>,
    /// Processor time since it started, in milliseconds.
    pub cpu_ms: u64,
    /// Memory it has in RAM (resident set), in bytes.
    pub rss: ByteSize,
}

/// What a guest uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GuestUse {
    /// Milliseconds since its kernel started.
    pub uptime_ms: u64,
    /// Processors that are online.
    pub cpus: u32,
    /// Processor time between the two looks by the guest's own clock, 100 for one of its
    /// processors; absent when it did not answer at the first, or has booted since.
    pub cpu_percent: Option<f64>,
    /// Processor time since its kernel started, in milliseconds.
    pub cpu_ms: u64,
    /// Its memory: what programs cannot get any more counts as used.
    pub memory: Usage,
    /// The file system that it writes to.
    pub disk: Usage,
}
