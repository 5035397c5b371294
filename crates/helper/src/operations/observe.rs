//! What there is of banger's.

use std::collections::HashSet;

use banger_proto::helper::{Observed, TAP_PREFIX, UPLINK};
use banger_proto::{VmId, build};

use super::{OperationError, look_for_bridge};
use crate::netlink::{Link, LinkKind, Netlink};
use crate::nft;
use crate::place::{Place, Uplink};
use crate::program::ProgramError;

pub(super) fn observe(place: &Place, netlink: &mut Netlink) -> Result<Observed, OperationError> {
    // One that is foreign is none of banger's.
    let bridge = match look_for_bridge(place, netlink) {
        Err(OperationError::Foreign { .. }) => None,
        bridge => bridge?,
    };
    let links = netlink.links().map_err(OperationError::Look)?;
    let addresses = netlink.addresses().map_err(OperationError::Look)?;
    let addressed: HashSet<u32> = addresses.iter().map(|(link, _)| *link).collect();
    let uplink = links
        .iter()
        .any(|link| link.up && addressed.contains(&link.index) && is_uplink(place, link));
    let mut taps: Vec<VmId> = links.iter().filter_map(parse_tap).collect();
    taps.sort();
    Ok(Observed {
        bridge_name: place.bridge.clone(),
        bridge: bridge.map(|bridge| {
            let own = addresses.iter().filter(|(link, _)| *link == bridge.index);
            own.map(|(_, address)| *address).collect()
        }),
        taps,
        uplink,
        rules: nft::observe_tables().map_err(look_at_rules)?,
        dropping: match place.uplink {
            Uplink::Own => Vec::new(),
            Uplink::Host => nft::observe_dropping(place.bridge.as_str()).map_err(look_at_rules)?,
        },
        version: build::current().version.to_owned(),
    })
}

fn look_at_rules(error: ProgramError) -> OperationError {
    OperationError::Rules("look at", error)
}

fn is_uplink(place: &Place, link: &Link) -> bool {
    match place.uplink {
        Uplink::Own => link.name == UPLINK,
        Uplink::Host => link.name != place.bridge.as_str() && link.kind != LinkKind::Loopback,
    }
}

/// The VM whose tap this is.
fn parse_tap(link: &Link) -> Option<VmId> {
    matches!(link.kind, LinkKind::Tap(_))
        .then(|| link.name.strip_prefix(TAP_PREFIX)?.parse().ok())
        .flatten()
}
