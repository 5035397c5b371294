//! The daemon itself.

use serde::{Deserialize, Serialize};

/// What `banger daemon status` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DaemonStatus {
    /// Version of the program.
    pub version: String,
    /// Version of the interface.
    pub api_version: u32,
    /// Identity of the program's file (its modification time and size), to notice an upgrade.
    pub build: String,
    /// Process id.
    pub pid: u32,
    /// When it started, RFC 3339.
    pub started_at: String,
    /// Path of its log.
    pub log: String,
    /// Path of its state directory.
    pub state_dir: String,
    /// Number of VMs recorded.
    pub vms: u32,
    /// Number of them that run.
    pub vms_running: u32,
    /// Number of requests under way, this one excluded.
    pub busy: u32,
}
