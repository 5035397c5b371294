//! The bridge, with the gateway's address, and what the kernel does with packets on it.

use banger_proto::helper::Network;
use banger_proto::{MacAddress, Subnet};

use super::subnet::require_free;
use super::{OperationError, link_error, look_for_bridge};
use crate::netlink::{Link, Netlink};
use crate::place::{Place, Uplink};
use crate::sysctl::Sysctl;

/// Makes it as it must be. One that was made here goes again when it cannot be completed.
pub(super) fn ensure(
    place: &Place,
    netlink: &mut Netlink,
    subnet: Subnet,
) -> Result<(), OperationError> {
    let name = place.bridge.as_str();
    let mac = MacAddress::of_gateway(subnet.gateway());
    let there = look_for_bridge(place, netlink)?;
    require_free(place, netlink, there.as_ref(), subnet)?;
    let made = there.is_none();
    let bridge = match there {
        Some(bridge) => bridge,
        None => {
            let mtu = place.uplink.mtu();
            netlink.add_bridge(name, mac, mtu).map_err(link_error("make bridge", name))?;
            look_for_bridge(place, netlink)?
                .ok_or_else(|| OperationError::NoBridge(name.to_owned()))?
        }
    };
    let done = complete(place, netlink, &bridge, subnet);
    if done.is_err() && made {
        // What went wrong first is what is told.
        let _ = netlink.remove_link(bridge.index);
    }
    done
}

/// Removes it. Its ports stay.
pub(super) fn remove(place: &Place, netlink: &mut Netlink) -> Result<(), OperationError> {
    let name = place.bridge.as_str();
    match look_for_bridge(place, netlink)? {
        Some(bridge) => {
            netlink.remove_link(bridge.index).map_err(link_error("remove bridge", name))
        }
        None => Ok(()),
    }
}

fn complete(
    place: &Place,
    netlink: &mut Netlink,
    bridge: &Link,
    subnet: Subnet,
) -> Result<(), OperationError> {
    let name = place.bridge.as_str();
    let mac = MacAddress::of_gateway(subnet.gateway());
    // Before it is up, so that there is never an IPv6 address.
    for setting in settings(place) {
        setting
            .ensure()
            .map_err(|source| OperationError::Setting { name: name.to_owned(), source })?;
    }
    if bridge.mac != mac.bytes() {
        netlink.set_mac(bridge.index, mac).map_err(link_error("set the card of", name))?;
    }
    let mtu = place.uplink.mtu();
    if bridge.mtu != mtu {
        netlink.set_mtu(bridge.index, mtu).map_err(link_error("set the MTU of", name))?;
    }
    ensure_address(netlink, bridge, subnet).map_err(link_error("set the address of", name))?;
    if !bridge.up {
        netlink.set_up(bridge.index).map_err(link_error("switch on", name))?;
    }
    if place.uplink == Uplink::Own {
        // Where there is no uplink, packets must get as far as the rules, which refuse them at once. The
        // kernel itself would tell guests only now and then that there is no way.
        netlink
            .add_default_route(bridge.index, u32::MAX)
            .map_err(link_error("set the last route of", name))?;
        let loopback = netlink.link("lo").map_err(OperationError::Look)?;
        if let Some(loopback) = loopback.filter(|link| !link.up) {
            netlink.set_up(loopback.index).map_err(link_error("switch on", "lo"))?;
        }
    }
    Ok(())
}

/// Gives it the gateway's address, then takes those of other networks of VMs from it. What somebody
/// else has given it stays.
fn ensure_address(
    netlink: &mut Netlink,
    bridge: &Link,
    subnet: Subnet,
) -> Result<(), crate::netlink::NetlinkError> {
    let wanted = Network { address: subnet.gateway(), prefix: subnet.prefix() };
    let there: Vec<Network> = netlink
        .addresses()?
        .into_iter()
        .filter(|(index, _)| *index == bridge.index)
        .map(|(_, address)| address)
        .collect();
    if !there.contains(&wanted) {
        netlink.add_address(bridge.index, wanted)?;
    }
    for other in there.into_iter().filter(|other| *other != wanted && is_gateway(*other)) {
        netlink.remove_address(bridge.index, other)?;
    }
    Ok(())
}

/// Whether it could be the gateway of a network of VMs: the first address of one.
pub(super) fn is_gateway(Network { address, prefix }: Network) -> bool {
    let before = std::net::Ipv4Addr::from(u32::from(address).wrapping_sub(1));
    format!("{before}/{prefix}").parse::<Subnet>().is_ok()
}

fn settings(place: &Place) -> Vec<Sysctl<'_>> {
    let name = place.bridge.as_str();
    let mut settings = vec![
        Sysctl::ForwardFrom(name),
        Sysctl::NoIpv6(name),
        Sysctl::ProxyArp(name),
        Sysctl::NoProxyDelay(name),
        Sysctl::NoRedirects(name),
    ];
    if place.uplink == Uplink::Own {
        // The kernel sends redirects when either says so. These are everybody's, so in the host they
        // are left alone; there the rules keep redirects from guests.
        settings.push(Sysctl::Forward);
        settings.extend(["all", "default"].map(Sysctl::NoIpv6));
        settings.push(Sysctl::NoRedirects("all"));
        settings.extend(["ip", "ip6", "arp"].map(Sysctl::BridgeToRules));
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_of_networks_of_vms() {
        let is = |address: [u8; 4], prefix| is_gateway(Network { address: address.into(), prefix });
        assert!(is([172, 30, 0, 1], 24));
        assert!(is([10, 1, 4, 1], 22));
        assert!(!is([172, 30, 0, 2], 24));
        assert!(!is([172, 30, 0, 1], 16));
        assert!(!is([8, 8, 8, 1], 24));
        assert!(!is([0, 0, 0, 0], 24));
    }
}
