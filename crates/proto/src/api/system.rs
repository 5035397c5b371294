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

/// Something of a VM that is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Leftover {
    /// The VM that it was of.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub vm: VmId,
    /// What it is.
    pub kind: LeftoverKind,
    /// The directory.
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
}

impl LeftoverKind {
    /// The kind as one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Runtime => "runtime",
            Self::Process => "process",
        }
    }
}
