//! Sockets at the gateway, for a daemon that is in another network, or may not listen there: it answers
//! guests by what it gets here.
//!
//! In a network of the user's own, packets that they send carry [`MARK`], so that they pass where those of
//! a VMM do not; in the host's, where marks are everybody's, they are root's. A port is taken as long as
//! anybody holds its socket; nobody can listen at it a second time until then.

use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;

use banger_proto::Subnet;
use banger_proto::helper::DNS_PORT;
use nix::sys::socket::{setsockopt, sockopt};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt as options,
};

use super::{OperationError, look_for_bridge};
use crate::netlink::Netlink;
use crate::place::{Place, Uplink};
use crate::rules::MARK;

/// Connections that wait to be accepted: the kernel's own limit (`net.core.somaxconn`) cuts it.
const BACKLOG: i32 = 4096;

/// The name server's: UDP, then TCP.
pub(super) fn dns(
    place: &Place,
    netlink: &mut Netlink,
    subnet: Subnet,
) -> Result<[OwnedFd; 2], OperationError> {
    let address = gateway(place, netlink, subnet, DNS_PORT)?;
    let udp = open(place, SocketType::DGRAM).and_then(|socket| {
        bind(&socket, &address)?;
        Ok(socket)
    });
    let udp = udp.map_err(|source| OperationError::Listen { address, protocol: "udp", source })?;
    Ok([udp, listen_at(place, address)?])
}

/// One that listens at a port.
pub(super) fn tcp(
    place: &Place,
    netlink: &mut Netlink,
    subnet: Subnet,
    port: u16,
) -> Result<OwnedFd, OperationError> {
    listen_at(place, gateway(place, netlink, subnet, port)?)
}

/// The port at the gateway, which the bridge must have: in a network without any address the kernel
/// would let sockets have each.
fn gateway(
    place: &Place,
    netlink: &mut Netlink,
    subnet: Subnet,
    port: u16,
) -> Result<SocketAddrV4, OperationError> {
    let name = place.bridge.to_string();
    let bridge =
        look_for_bridge(place, netlink)?.ok_or_else(|| OperationError::NoBridge(name.clone()))?;
    let (gateway, addresses) =
        (subnet.gateway(), netlink.addresses().map_err(OperationError::Look)?);
    if !addresses.iter().any(|(link, own)| *link == bridge.index && own.address == gateway) {
        return Err(OperationError::NoGateway { bridge: name, gateway });
    }
    Ok(SocketAddrV4::new(gateway, port))
}

fn listen_at(place: &Place, address: SocketAddrV4) -> Result<OwnedFd, OperationError> {
    let listening = open(place, SocketType::STREAM).and_then(|socket| {
        // Connections that have ended are in nobody's way.
        options::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &address)?;
        listen(&socket, BACKLOG)?;
        Ok(socket)
    });
    listening.map_err(|source| OperationError::Listen { address, protocol: "tcp", source })
}

fn open(place: &Place, kind: SocketType) -> rustix::io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)?;
    if place.uplink == Uplink::Own {
        setsockopt(&socket, sockopt::Mark, &MARK)
            .map_err(|errno| Errno::from_raw_os_error(errno as i32))?;
    }
    Ok(socket)
}
