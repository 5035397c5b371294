//! How the guest is.

use serde::{Deserialize, Serialize};

use super::ServiceState;

/// Who is process 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum InitKind {
    /// The image's systemd.
    Systemd,
    /// The agent.
    Agent,
}

/// How far the guest's init is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum InitState {
    /// The agent waits for its configuration.
    Unconfigured,
    /// Commands run; the init is still starting services.
    Starting,
    /// The init says it has finished.
    Running,
    /// The guest is going down.
    Stopping,
}

/// A picture of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The kernel's boot id.
    pub boot_id: String,
    /// Milliseconds since the kernel started.
    pub uptime_ms: u64,
    /// Who is process 1; absent before configuration.
    pub init: Option<InitKind>,
    /// How far it is.
    pub state: InitState,
    /// Commands running now, the service among them.
    pub commands: u32,
    /// The service, if the guest has one.
    #[serde(default)]
    pub service: Option<ServiceState>,
}
