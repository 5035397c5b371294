//! The daemon itself.

use serde::{Deserialize, Serialize};

use crate::Subnet;

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
    /// Number of requests under way, without this one and those that follow events or stats.
    pub busy: u32,
    /// The name server for programs on this host.
    #[serde(default)]
    pub dns: DnsStatus,
    /// The network of VMs.
    #[serde(default)]
    pub network: NetworkStatus,
}

/// Whose network VMs are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum NetworkMode {
    /// One of the user's own, which needs no root.
    #[default]
    User,
    /// The host's, by a service of the system.
    System,
}

/// How the network of VMs is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkStatus {
    /// Whose network it is in.
    #[serde(default)]
    pub mode: NetworkMode,
    /// Its addresses; absent while there is none, because no VM needs it or because it cannot be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub subnet: Option<Subnet>,
    /// Number of VMs on it.
    pub vms: u32,
    /// Whether there is a way from it to what lies beyond the host. It is opened for the first VM that
    /// may use it.
    pub way_out: bool,
    /// Why it could not be made when it was last needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Why the host's resolver does not ask for names of VMs, when it was to be told so last; in the host's
    /// network only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names_problem: Option<String>,
}

/// Whether and where names of VMs are answered on this host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DnsStatus {
    /// Address and port that answer; absent when none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Why none does although one is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
