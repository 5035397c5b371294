//! From the guests that there are to what the helper is told. Pure.

use std::collections::BTreeMap;

use banger_proto::helper::{GuestRules, Network, Rules};
use banger_proto::{Subnet, VmId};

use super::network::Guest;

/// The rules for `guests`, none of which reaches the host itself at `host`.
pub(super) fn plan_rules(
    subnet: Subnet,
    host: &[Network],
    guests: &BTreeMap<VmId, Guest>,
) -> Rules {
    let rules = |(vm, guest): (&VmId, &Guest)| {
        Some(GuestRules {
            vm: vm.clone(),
            address: guest.address?,
            nat: guest.wishes.nat,
            host_ports: guest.wishes.host_ports.iter().copied().collect(),
        })
    };
    let guests = guests.iter().filter_map(rules).collect();
    Rules { subnet, host_addresses: host.to_vec(), guests }
}
