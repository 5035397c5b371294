//! Whose a network is. What the host has on another interface is never that of VMs: the bridge's address
//! would be one that a neighbour has already, like the gateway of a LAN, and the rules keep everybody but
//! guests from what is in their network.
//!
//! This is about the host's network only. In a namespace of the user's own there is nothing to take from
//! anybody: beside the bridge it has the two addresses that banger gives to pasta's interface, which are
//! seen nowhere else. Whoever configures that very network has no way out, and harms nobody.

use std::net::Ipv4Addr;

use banger_proto::Subnet;
use banger_proto::helper::Network;

use super::bridge::is_gateway;
use super::{OperationError, look_for_bridge};
use crate::netlink::{Link, Netlink};
use crate::place::{Place, Uplink};

/// The kernel's list of routes in the network that the reader is in.
const ROUTES: &str = "/proc/net/route";

/// Refuses a network that another interface than the bridge is in, or that the next router is in: where each
/// host has an address for itself, as in clouds, that one is in none of its networks. A network that the
/// bridge has already stays, whatever came after it: its VMs go on.
pub(super) fn require_free(
    place: &Place,
    netlink: &mut Netlink,
    bridge: Option<&Link>,
    subnet: Subnet,
) -> Result<(), OperationError> {
    if place.uplink == Uplink::Own || gateways(netlink, bridge)?.contains(&gateway(subnet)) {
        return Ok(());
    }
    let links = netlink.links().map_err(OperationError::Look)?;
    let taken = netlink
        .networks()
        .map_err(OperationError::Look)?
        .into_iter()
        .filter(|(index, _)| bridge.is_none_or(|bridge| bridge.index != *index))
        .find(|(_, network)| subnet.overlaps(network.address, network.prefix));
    if let Some((index, Network { address, prefix })) = taken {
        let link = links.into_iter().find(|link| link.index == index);
        // One that has gone in between is still told, by its number.
        let interface = link.map_or_else(|| index.to_string(), |link| link.name);
        let network = format!("{address}/{prefix}");
        return Err(OperationError::Taken { subnet, interface, network });
    }
    let routes = fs_err::read_to_string(ROUTES).map_err(OperationError::Routes)?;
    let router = parse_routers(&routes)
        .find(|(name, router)| *name != place.bridge.as_str() && subnet.overlaps(*router, 32));
    match router {
        None => Ok(()),
        Some((name, router)) => Err(OperationError::Taken {
            subnet,
            interface: name.to_owned(),
            network: format!("{router}/32"),
        }),
    }
}

/// The next routers, each with the interface they are beyond, in the kernel's list of IPv4 routes: words of
/// which the third is the router's address in hexadecimal and the machine's byte order (proc_net(5)).
fn parse_routers(routes: &str) -> impl Iterator<Item = (&str, Ipv4Addr)> {
    routes.lines().skip(1).filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let name = words.next()?;
        let router = u32::from_str_radix(words.nth(1)?, 16).ok()?;
        (router != 0).then(|| (name, Ipv4Addr::from(router.to_ne_bytes())))
    })
}

/// Refuses rules for another network than the bridge's. Without a bridge, or one that has lost its address,
/// rules still have to follow guests that end: then they may be for a network that nobody has.
pub(super) fn require_bridges(
    place: &Place,
    netlink: &mut Netlink,
    subnet: Subnet,
) -> Result<(), OperationError> {
    if place.uplink == Uplink::Own {
        return Ok(());
    }
    let bridge = look_for_bridge(place, netlink)?;
    let gateways = gateways(netlink, bridge.as_ref())?;
    if !gateways.is_empty() && !gateways.contains(&gateway(subnet)) {
        let (bridge, gateway) = (place.bridge.to_string(), subnet.gateway());
        return Err(OperationError::NoGateway { bridge, gateway });
    }
    require_free(place, netlink, bridge.as_ref(), subnet)
}

fn gateway(subnet: Subnet) -> Network {
    Network { address: subnet.gateway(), prefix: subnet.prefix() }
}

/// The addresses of the bridge that are those of networks of VMs.
fn gateways(netlink: &mut Netlink, bridge: Option<&Link>) -> Result<Vec<Network>, OperationError> {
    let Some(bridge) = bridge else { return Ok(Vec::new()) };
    let addresses = netlink.addresses().map_err(OperationError::Look)?;
    let own = addresses.into_iter().filter(|(index, _)| *index == bridge.index);
    Ok(own.map(|(_, address)| address).filter(|address| is_gateway(*address)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_routers() {
        let routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n\
                      eth0\t00000000\t0100800A\t0003\t0\t0\t0\t00000000\t0\n\
                      eth0\t0100800A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\n\
                      odd\n";
        let routers: Vec<_> = parse_routers(routes).collect();
        let router = u32::from_str_radix("0100800A", 16).unwrap().to_ne_bytes();
        assert_eq!(routers, [("eth0", Ipv4Addr::from(router))]);
        assert_eq!(parse_routers("").count(), 0);
    }
}
