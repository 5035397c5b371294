//! The image's own program as a service of the guest: what is told to the agent, and how it is.

use serde::{Deserialize, Serialize};

/// A program that the agent starts once commands can run, at every boot, and lets end once. Its
/// environment is the guest's, its input empty, its output the console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Program and arguments; not empty.
    pub argv: Vec<String>,
    /// Working directory; absent for the user's home.
    #[serde(default)]
    pub cwd: Option<String>,
    /// User to run as, as in [`ExecRequest`](super::ExecRequest::user); absent for root.
    #[serde(default)]
    pub user: Option<String>,
    /// Number of the signal that asks it to end, 1 to 64.
    pub stop_signal: u8,
}

/// How a guest's service is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ServiceState {
    /// It runs.
    Running {
        /// Its process id in the guest.
        pid: u32,
    },
    /// It ended; exactly one of the two is set.
    Exited {
        /// Exit code, when it exited.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<u8>,
        /// Signal number, when one ended it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<u8>,
    },
    /// It could not be started.
    Failed {
        /// Why, a fragment.
        reason: String,
    },
}
