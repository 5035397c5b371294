//! Where the operations work, as one value: what differs between a network of the user's own and the host's.
//!
//! Who may call is not decided here: of a network of the user's own, that is the business of whoever makes
//! the socket; in the host's, of [`crate::serve`].

use banger_proto::BridgeName;
use banger_proto::helper::{HOST_MTU, OWN_MTU};

/// Where the operations work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What the bridge is called.
    pub bridge: BridgeName,
    /// Who may attach a VMM to a tap: a user's number, as seen in the namespace that the helper is in.
    pub tap_owner: u32,
    /// Where packets of guests leave.
    pub uplink: Uplink,
}

/// Where packets of guests leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uplink {
    /// By the interface [`UPLINK`] in a network namespace that holds nothing else: all that is there is
    /// the helper's to rule.
    Own,
    /// By whichever interface of the host is not the bridge: what does not concern the bridge is not the
    /// helper's.
    Host,
}

impl Uplink {
    /// Most bytes in a packet on the bridge and the taps.
    #[must_use]
    pub fn mtu(self) -> u32 {
        match self {
            Self::Own => OWN_MTU.into(),
            Self::Host => HOST_MTU.into(),
        }
    }
}

impl Place {
    /// In a namespace of a user's own, where that user is root.
    #[must_use]
    pub fn own(bridge: BridgeName) -> Self {
        Self { bridge, tap_owner: 0, uplink: Uplink::Own }
    }

    /// In the host's network, for the guests of user `owner`.
    #[must_use]
    pub fn host(bridge: BridgeName, owner: u32) -> Self {
        Self { bridge, tap_owner: owner, uplink: Uplink::Host }
    }
}
