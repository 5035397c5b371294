//! What became of a repository in the guest.

use serde::{Deserialize, Serialize};

/// A repository that is compared with what is known of it. `Data` frames then carry the paths that
/// are known, `End` closes them, and the agent's `Data` frames carry what is different; both as
/// the crate `tree` writes them (`changes`).
///
/// Nothing of the guest's git is asked and nothing is written. What the repository's rules ignore
/// is left out, unless it is known or in the guest's index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurveyRequest {
    /// Absolute path of the top of the working tree.
    pub directory: String,
    /// How contents are named: `sha1` or `sha256`.
    pub object_format: String,
    /// Whether contents follow; without, their sizes are 0.
    pub contents: bool,
}

/// File in a workspace's `.git` that holds the name of the bringing-in that it came by, so that
/// one is told from the next.
pub const WORKSPACE_ID: &str = "banger-workspace";

/// Most commits that a survey names: as many as fit in one frame.
pub const MAX_COMMITS: usize = 8_000;

/// How a survey ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Surveyed {
    /// Commit that is checked out, in hexadecimal; absent when that cannot be told.
    #[serde(default)]
    pub commit: Option<String>,
    /// Full name of the branch; absent when none is checked out or its name is not UTF-8.
    #[serde(default)]
    pub reference: Option<String>,
    /// What [`WORKSPACE_ID`] holds; absent when there is no such file.
    #[serde(default)]
    pub workspace_id: Option<String>,
    /// Objects, in hexadecimal, that `HEAD`, a branch, a tag or another reference names;
    /// [`MAX_COMMITS`] at most.
    #[serde(default)]
    pub commits: Vec<String>,
    /// Whether there are more of them.
    #[serde(default)]
    pub more_commits: bool,
    /// What was left out; sentences' fragments that begin with its name.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A repository whose objects are wanted. The agent's `Data` frames carry files below `.git` as a
/// survey carries changes: `objects/xx/…` and `objects/pack/….pack`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitObjectsRequest {
    /// Absolute path of the top of the working tree.
    pub directory: String,
    /// Names of packs that the host has, `pack-….pack`.
    #[serde(default)]
    pub except: Vec<String>,
}
