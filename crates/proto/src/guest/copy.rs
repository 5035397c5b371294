//! Copying files between host and guest.

use serde::{Deserialize, Serialize};

/// What is copied out of the guest, or where a copy goes in it. `Data` frames carry a tar stream
/// whose first entry is what is copied, all others inside of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyRequest {
    /// Path in the guest; one that is not absolute is relative to root's home. Its last part is
    /// followed if it is a link to a directory and something goes in, and never on the way out.
    pub path: String,
    /// For a copy into the guest: the path is what the copy is called, be there a directory of
    /// that name or not; and the directories that it is in are made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exact: bool,
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Copied {
    /// Number of files, directories and links.
    pub entries: u64,
    /// Bytes of file contents.
    pub bytes: u64,
    /// What was left out, or changed while it was read; fragments that begin with its name.
    #[serde(default)]
    pub notes: Vec<String>,
}
