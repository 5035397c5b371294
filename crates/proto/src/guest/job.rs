//! Commands that outlive whoever started them.
//!
//! ```text
//!   start ──▶ running ── it ends, the agent sees how ──▶ exited
//!                └────── it ends, nobody sees how ─────▶ lost
//! ```
//!
//! The guest's agent owns a job and keeps what it writes, until the VM ends. Finished jobs are
//! kept for a while, also over a restart of the VM: how many and how much is the agent's choice.

use serde::{Deserialize, Serialize};

use super::ExecRequest;
use crate::JobId;

/// Start a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartJob {
    /// What it is called from now on; refused when there is one of that id.
    pub id: JobId,
    /// What to run. With `stdin`, its input stays open until somebody attached ends it.
    pub command: ExecRequest,
}

/// A job as the agent tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Program and arguments; empty for a shell. Long ones are cut.
    pub argv: Vec<String>,
    /// Whether it has a terminal.
    #[serde(default)]
    pub terminal: bool,
    /// Whether it takes input.
    #[serde(default)]
    pub input: bool,
    /// Its process id in the guest; 0 when it could not be started.
    pub pid: u32,
    /// How it is.
    #[serde(flatten)]
    pub state: JobState,
    /// When it was started, in milliseconds since 1970 by the guest's clock.
    pub started_unix_ms: u64,
    /// When it was seen to have ended, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_unix_ms: Option<u64>,
}

/// How a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum JobState {
    /// It runs.
    Running,
    /// It ended; exactly one of the two is set.
    Exited {
        /// Exit code, when it exited.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<u8>,
        /// Signal number, when one ended it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<u8>,
    },
    /// It does not run any more, and nobody saw how it ended: the agent that waited for it was
    /// killed, or the VM went down under it.
    Lost,
}

/// Read what a job has written and writes.
///
/// The agent sends `Stdout` and `Stderr` frames in the order in which it read them, which between
/// the two pipes is not always the order in which the job wrote, an `Event` frame with [`Skipped`]
/// where something is missing between them, and at the end one `Exit` frame: with neither code
/// nor signal for a [lost](JobState::Lost) job. Without `follow` it
/// sends `End` in its place while the job runs. The host may send what it sends for exec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachJob {
    /// Which.
    pub id: JobId,
    /// Where to begin.
    pub from: JobOutput,
    /// Whether to go on until the job ends.
    pub follow: bool,
    /// Whether `Stdin` frames follow. One stream at a time can have a job's input. What the job
    /// has not taken when the stream ends is lost; the job's input ends with `StdinEnd` only.
    #[serde(default)]
    pub input: bool,
}

/// A place in what a job wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum JobOutput {
    /// The beginning, or the oldest that is kept.
    Start,
    /// The last lines, so many.
    Tail(u32),
    /// Where it stands.
    Now,
}

/// Send a signal to a job's process group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillJob {
    /// Which; refused with `conflict` when it does not run any more.
    pub id: JobId,
    /// Number of the signal, 1 to 64.
    pub signal: u8,
}

/// Output of a job that is not there any more: it was over what is kept, or the guest's disk was
/// full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Bytes, roughly: what frames take is counted with what they carry.
    pub skipped: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_flat_json() {
        let job = Job {
            id: JobId::from_random([1; 6]),
            argv: vec!["make".into()],
            terminal: false,
            input: false,
            pid: 7,
            state: JobState::Exited { code: Some(2), signal: None },
            started_unix_ms: 5,
            ended_unix_ms: Some(6),
        };
        let json = serde_json::to_value(&job).unwrap();
        assert_eq!((&json["state"], &json["code"]), (&"exited".into(), &2.into()));
        assert_eq!(serde_json::from_value::<Job>(json).unwrap(), job);
    }
}
