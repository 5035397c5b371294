//! banger as a whole on this host.

use serde::{Deserialize, Serialize};

use crate::{ByteSize, Problem, VmId};

/// Asks for the removal of what belongs to no VM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CollectGarbage {
    /// Only tell what would be removed.
    pub dry_run: bool,
}

/// What belongs to no VM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Garbage {
    /// What was found.
    pub leftovers: Vec<Leftover>,
    /// What was left alone although no VM is known for it, and why; whole sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// Something of a VM that is not known, or of a network that nobody is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Leftover {
    /// The VM that it was of; absent for what is of the network that VMs share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub vm: Option<VmId>,
    /// What it is.
    pub kind: LeftoverKind,
    /// The directory or file, or the process as `/proc/PID`.
    pub path: String,
    /// Bytes on the disk.
    pub size: ByteSize,
    /// Whether it was removed.
    pub removed: bool,
    /// Why it could not be removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// Kind of a leftover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum LeftoverKind {
    /// Disk and logs.
    Disk,
    /// Sockets and state of a supervisor that is gone.
    Runtime,
    /// Sockets and state of a supervisor, and the VMM that it runs.
    Process,
    /// A process that keeps a network or leads out of it, or what was noted about one.
    Network,
}

impl LeftoverKind {
    /// The kind as one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Runtime => "runtime",
            Self::Process => "process",
            Self::Network => "network",
        }
    }
}
