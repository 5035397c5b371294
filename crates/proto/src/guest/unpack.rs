//! Writing a tree of files into the guest.

use serde::{Deserialize, Serialize};

/// Where a tree goes. `Data` frames then carry a zstd-compressed tar stream of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpackRequest {
    /// Absolute path of the directory that the archive's names are relative to. It must not
    /// exist: the tree is unpacked beside it and renamed into place when it is whole, so that a
    /// broken transfer leaves nothing.
    pub directory: String,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpacked {
    /// Number of archive entries.
    pub entries: u64,
    /// Bytes of file contents.
    pub bytes: u64,
}
