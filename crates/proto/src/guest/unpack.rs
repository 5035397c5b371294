//! Writing a tree of files into the guest.

use serde::{Deserialize, Serialize};

/// Where a tree goes. `Data` frames then carry a zstd-compressed tar stream of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpackRequest {
    /// Absolute path of the directory that the archive's names are relative to. It must not
    /// exist, unless the tree is to replace it: the tree is unpacked beside it and renamed into
    /// place when it is whole, so that of a broken transfer nothing is seen.
    pub directory: String,
    /// Take the place of the repository that is there, if one is; absent for no.
    #[serde(default)]
    pub replace: Option<Replace>,
}

/// How a repository takes the place of an older one. What the older one's rules ignore, such as
/// the output of a build, and repositories of the guest's own inside of it move over, unless
/// something that comes has the name. All else of it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replace {
    /// How the older one names objects: `sha1` or `sha256`.
    pub object_format: String,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Unpacked {
    /// Number of archive entries.
    pub entries: u64,
    /// Bytes of file contents.
    pub bytes: u64,
    /// What of an older tree could not move over; fragments that begin with its name.
    #[serde(default)]
    pub notes: Vec<String>,
}
