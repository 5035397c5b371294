//! What the guest uses, and what its systemd says.

use serde::{Deserialize, Serialize};

/// What a guest has used so far. Counters grow from boot; whoever wants a rate asks twice.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GuestStats {
    /// Milliseconds since the kernel started, taken together with the counters.
    pub uptime_ms: u64,
    /// Processors that are online.
    pub cpus: u32,
    /// Milliseconds that processors were busy, all together: neither idle, nor waiting for a
    /// disk, nor taken away by the host.
    pub cpu_busy_ms: u64,
    /// Bytes of memory the kernel manages (`MemTotal`).
    pub memory_total: u64,
    /// Bytes of it that programs could still get without swapping (`MemAvailable`).
    pub memory_available: u64,
    /// Bytes of the file system that the guest writes to.
    pub disk_total: u64,
    /// Bytes of it that are free to ordinary users.
    pub disk_free: u64,
    /// Jobs that run.
    #[serde(default)]
    pub jobs: u32,
}

/// What the guest's systemd says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SystemReport {
    /// The word of `systemctl is-system-running`: `running`, `degraded`, `starting` and so on.
    pub state: String,
    /// Names of units that failed; at most 32.
    pub failed_units: Vec<String>,
}
