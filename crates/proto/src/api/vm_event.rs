//! What happens to VMs: one JSON object a line.

use serde::{Deserialize, Serialize};

use super::{EndReason, StateName};
use crate::guest::InitState;
use crate::{Period, VmId, VmName};

/// One line of `GET /v1/events`.
///
/// Every change has a number, one more than that of the change before it. Whoever remembers the
/// number of the last line asks with `?since=` for what came after it. Numbers grow from one
/// life of the daemon to the next, too, so that an old one is recognised.
///
/// The first line is `position` or `missed`; those two are no changes, and their number is that
/// of the last change before the next line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum VmEvent {
    /// Everything after this number follows.
    Position {
        /// Number of the last change before the next line.
        seq: u64,
    },
    /// Changes are not known any more, or were made by an earlier daemon: list the VMs, then
    /// read on.
    Missed {
        /// Number of the last change before the next line.
        seq: u64,
    },
    /// A VM came to be in a state, or its guest did.
    State {
        /// Number.
        seq: u64,
        /// When, RFC 3339.
        at: String,
        /// The VM.
        vm: VmId,
        /// Its name.
        name: VmName,
        /// Its state.
        state: StateName,
        /// How far the guest's init is, while the VM runs and once that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        guest: Option<InitState>,
        /// Where it is paused because it had been idle: for so many seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        paused_idle_seconds: Option<Period>,
        /// How it came to be down, when it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ended: Option<EndReason>,
        /// Why its state is `error`, a fragment.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<String>,
    },
    /// A VM is gone with everything that belonged to it.
    Deleted {
        /// Number.
        seq: u64,
        /// When, RFC 3339.
        at: String,
        /// The VM.
        vm: VmId,
        /// The name it had.
        name: VmName,
    },
}

impl VmEvent {
    /// Its number; see [`VmEvent`].
    #[must_use]
    pub fn seq(&self) -> u64 {
        match self {
            Self::Position { seq }
            | Self::Missed { seq }
            | Self::State { seq, .. }
            | Self::Deleted { seq, .. } => *seq,
        }
    }
}
