//! What a VM has on the network, and what is remembered of it. Data only.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use banger_proto::guest::GuestNetwork;
use banger_proto::{MacAddress, VmId, VmName};

use super::super::privileged::NetworkError;

/// What a VM may reach besides other VMs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wishes {
    /// What lies beyond the host.
    pub nat: bool,
    /// Ports of the host's loopback address.
    pub host_ports: BTreeSet<u16>,
}

impl Wishes {
    /// Whether a VM without a network does as well.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A VM that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::net) struct Guest {
    /// Its name.
    pub(in crate::net) name: VmName,
    /// Its address; absent for one without a card.
    pub(in crate::net) address: Option<Ipv4Addr>,
    /// Where the host reaches it.
    pub(in crate::net) loopback: Ipv4Addr,
    /// What it may reach.
    pub(in crate::net) wishes: Wishes,
}

/// A VM that was given its place by an earlier daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The VM.
    pub vm: VmId,
    /// Its name.
    pub name: VmName,
    /// Which of the addresses it has.
    pub lease: u32,
    /// Its address; absent for one without a card.
    pub address: Option<Ipv4Addr>,
    /// What it may reach.
    pub wishes: Wishes,
}

/// Where a VM is found.
#[derive(Debug)]
pub struct Place {
    /// What to remember, so that the VM has the same addresses next time.
    pub lease: u32,
    /// Its card, or why it has none.
    pub card: Result<Card, NetworkError>,
}

/// A VM's place on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// The tap that the VMM attaches to.
    pub tap: String,
    /// The card's address.
    pub mac: MacAddress,
    /// The words in front of the VMM's command line that start it where the tap is.
    pub entrance: Vec<String>,
    /// What the guest is told.
    pub guest: GuestNetwork,
}
