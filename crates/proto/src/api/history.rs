//! What became of a VM, change by change.

use serde::{Deserialize, Serialize};

use super::{EndReason, StateName};
use crate::OpId;

/// A VM came to be in a state. Stored as JSON: add fields with `#[serde(default)]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VmChange {
    /// When, RFC 3339.
    pub at: String,
    /// Its state from then on.
    pub state: StateName,
    /// What brought it about.
    pub cause: ChangeCause,
    /// The request that asked for it, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub op: Option<OpId>,
    /// Milliseconds that the work took which ended in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// How it came to be down, when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<EndReason>,
    /// Why its state is `error`, a fragment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What brings a change about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ChangeCause {
    /// It was asked for.
    Create,
    /// A start was asked for; also the second half of a restart.
    Start,
    /// A stop was asked for; also the first half of a restart.
    Stop,
    /// Nobody used it for the time after which it is to be paused or stopped.
    Idle,
    /// A pause was asked for.
    Pause,
    /// That it goes on was asked for.
    Resume,
    /// Somebody wanted something of it, which was paused or stopped because nobody had used it.
    Wake,
    /// A kill was asked for.
    Kill,
    /// A change of what it is was asked for.
    Set,
    /// A snapshot or a copy of it was asked for.
    Snapshot,
    /// That it is taken back to a snapshot was asked for.
    Restore,
    /// A deletion was asked for, or the request ended that the VM lived for.
    Delete,
    /// Its guest, or its VMM, ended by itself.
    Itself,
    /// The daemon started and looked how it is.
    Recovery,
}

impl ChangeCause {
    /// The cause as one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Idle => "idle",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Wake => "use",
            Self::Kill => "kill",
            Self::Set => "set",
            Self::Snapshot => "snapshot",
            Self::Restore => "restore",
            Self::Delete => "delete",
            Self::Itself => "by itself",
            Self::Recovery => "recovery",
        }
    }
}
