//! Bringing a workspace into a VM that runs, and what of a repository is brought.

use serde::{Deserialize, Serialize};

/// How much of a repository travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum WorkspaceMode {
    /// The files and the commit that is checked out, without its history.
    #[default]
    Shallow,
    /// All branches and tags with all of their history, and the submodules that are checked out.
    Full,
}

impl WorkspaceMode {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shallow => "shallow",
            Self::Full => "full",
        }
    }
}

/// A branch that is in the guest only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GuestBranch {
    /// Its name, without `refs/heads/`.
    pub name: String,
    /// The commit it begins at, in any way git names one on the host: the guest then gets the
    /// files of that commit, and none of the host's edits. Absent for what is checked out, with
    /// the edits.
    #[serde(default)]
    pub from: Option<String>,
}

/// Asks for a repository to be brought into a VM that runs, in the place of the one that is there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PrepareWorkspace {
    /// Absolute path of the repository or of a directory in it; absent for where the VM's
    /// workspace came from.
    #[serde(default)]
    pub path: Option<String>,
    /// How much of it; absent for as much as last time, or a shallow one.
    #[serde(default)]
    pub mode: Option<WorkspaceMode>,
    /// The branch to make in the guest; absent for the host's.
    #[serde(default)]
    pub branch: Option<GuestBranch>,
    /// Bring files that git neither tracks nor ignores, too.
    #[serde(default)]
    pub include_untracked: bool,
    /// Also when work in the guest is lost by it.
    #[serde(default)]
    pub force: bool,
}
