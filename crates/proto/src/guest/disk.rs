//! A writable disk that has become larger.

use serde::{Deserialize, Serialize};

/// The writable disk is larger than it was, or will be in a moment: the agent waits until the
/// kernel has seen it, then grows the file system on it. Nothing is done where it is that large
/// already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrowDiskRequest {
    /// Block device serial of the writable disk.
    pub serial: String,
    /// Size of the disk in bytes.
    pub bytes: u64,
}

/// How large the file system is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskGrown {
    /// Bytes of the file system, those for its own use included. It may be a little less than the
    /// disk: no group of blocks is begun that has no room for its own tables.
    pub bytes: u64,
}
