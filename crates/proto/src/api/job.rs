//! Jobs: commands in a VM that outlive whoever started them.

use serde::{Deserialize, Serialize};

use crate::JobId;
use crate::guest::{JobOutput, JobState};

/// A job as it is shown. What it says is the guest's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// How it is: `state`, and for one that `exited` its `code` or the `signal` that ended it.
    #[serde(flatten)]
    pub state: JobState,
    /// Program and arguments; empty for a shell. Long ones are cut.
    pub command: Vec<String>,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Whether it takes input.
    pub input: bool,
    /// Its process id in the guest; 0 when it could not be started.
    pub pid: u32,
    /// When it was started, RFC 3339, by the guest's clock.
    pub started_at: String,
    /// When it was seen to have ended, likewise; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
}

/// The jobs of a VM that are known, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobList {
    /// The jobs.
    pub jobs: Vec<JobView>,
}

/// Follow a job, or read what it wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttachToJob {
    /// Where to begin; absent for where it stands.
    #[serde(default)]
    pub from: Option<JobOutput>,
    /// Whether to end at what there is, in the place of following it until the job ends.
    #[serde(default)]
    pub no_follow: bool,
    /// Whether `Stdin` frames follow. One client at a time can have a job's input.
    #[serde(default)]
    pub input: bool,
}

/// Send a signal to a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignalJob {
    /// Number of the signal, 1 to 64; absent for 15, `SIGTERM`.
    #[serde(default)]
    pub signal: Option<u8>,
}
