//! Snapshots of VMs, and VMs that begin as copies of another.

use serde::{Deserialize, Serialize};

use super::VmView;
use crate::{ByteSize, SnapshotName, VmId, VmName};

/// Takes a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TakeSnapshot {
    /// Its name; absent for one made of the time.
    #[serde(default)]
    pub name: Option<SnapshotName>,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SnapshotView {
    /// Its name among those of its VM.
    pub name: SnapshotName,
    /// The VM's id.
    pub vm: VmId,
    /// The VM's name.
    pub vm_name: VmName,
    /// When it was taken (RFC 3339).
    pub taken_at: String,
    /// Whether it has the guest's memory, or only the disk.
    pub memory: bool,
    /// Bytes that it takes on the host.
    pub size: ByteSize,
}

/// Snapshots, the oldest of each VM first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SnapshotList {
    /// The snapshots.
    pub snapshots: Vec<SnapshotView>,
}

/// Takes a VM back to a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RestoreSnapshot {
    /// Whether the snapshot's memory is left alone: the VM has the disk of then, and is down.
    #[serde(default)]
    pub disk_only: bool,
}

/// Most VMs that one fork makes.
pub const MAX_FORKS: u32 = 64;

/// Makes copies of a VM that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ForkVm {
    /// How many: 1 to [`MAX_FORKS`].
    #[serde(default = "one")]
    pub count: u32,
    /// Their names, or fewer: the others are the VM's with a number.
    #[serde(default)]
    pub names: Vec<VmName>,
}

fn one() -> u32 {
    1
}

impl Default for ForkVm {
    fn default() -> Self {
        Self { count: one(), names: Vec::new() }
    }
}

/// The copies of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Forked {
    /// Those that run, in the order of their [numbers](FORK_INDEX).
    pub vms: Vec<VmView>,
    /// Milliseconds for which the VM itself stood still.
    pub held_ms: u64,
}

/// Variable in the environment of a copy's commands: its number, from 1.
pub const FORK_INDEX: &str = "BANGER_FORK_INDEX";
