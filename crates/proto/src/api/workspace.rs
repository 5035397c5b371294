//! What became of a VM's workspace.

use serde::{Deserialize, Serialize};

/// A workspace on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkspaceStatus {
    /// Commit that was brought in; absent for a repository without commits.
    pub base: Option<String>,
    /// On the host.
    pub host: WorkspaceSide,
    /// In the guest.
    pub guest: WorkspaceSide,
    /// What is not told, or not reached by an export; fragments that begin with a name.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A workspace on one side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkspaceSide {
    /// Top of the working tree.
    pub path: String,
    /// Commit that is checked out; absent where there is none or it cannot be told.
    pub head: Option<String>,
    /// Branch that is checked out; absent when none is.
    pub branch: Option<String>,
    /// Number of files that differ: on the host from its commit, untracked ones left out; in the
    /// guest from what was brought in, new ones included.
    pub changed: u64,
}

/// How a patch is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PatchForm {
    /// Whole, for `git apply`.
    #[default]
    Patch,
    /// Lines added and removed in each file.
    Stat,
    /// Names of files.
    Names,
}

impl PatchForm {
    /// As it stands in a query.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Patch => "patch",
            Self::Stat => "stat",
            Self::Names => "names",
        }
    }
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Exported {
    /// Bytes that were sent.
    pub bytes: u64,
    /// What a person should know of it; fragments that begin with a name.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What was changed in the repository on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Applied {
    /// Top of its working tree.
    pub path: String,
    /// Files that were written or removed, from there.
    pub files: Vec<String>,
    /// What a person should know of it; fragments that begin with a name.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// The guest's commits as a branch of the repository on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BringBranch {
    /// Short name of the branch, which must not be there.
    pub name: String,
}

/// A branch that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Branched {
    /// Top of the repository's working tree.
    pub path: String,
    /// Short name of the branch.
    pub branch: String,
    /// Its commit.
    pub commit: String,
    /// What a person should know of it; fragments that begin with a name.
    #[serde(default)]
    pub notes: Vec<String>,
}
