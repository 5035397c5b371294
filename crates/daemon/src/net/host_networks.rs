//! What the host has of addresses and routes: guests must neither reach its own addresses nor be given
//! a network that is another one to it.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use banger_proto::Subnet;
use banger_proto::helper::Network;
use nix::ifaddrs::getifaddrs;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};

use crate::supervise::wait_on;

/// The networks that VMs get unless one is configured: a part of the private range that few use.
const CANDIDATES: std::ops::Range<u8> = 0..64;
/// The group of those who hear of IPv4 addresses (`RTMGRP_IPV4_IFADDR`, linux/rtnetlink.h).
const ADDRESSES: u32 = 0x10;
/// Bytes that are read of what the kernel tells; none of them matter.
const NEWS: usize = 64;
/// The kernel's list of routes.
const ROUTES: &str = "/proc/net/route";

/// The host's own addresses, and the broadcast addresses of their networks.
///
/// # Errors
/// When the kernel does not tell them.
pub(super) fn observe_addresses() -> io::Result<Vec<Network>> {
    let mut found: Vec<Network> = getifaddrs()?
        .flat_map(|interface| [interface.address, interface.broadcast])
        .flatten()
        .filter_map(|address| address.as_sockaddr_in().map(nix::sys::socket::SockaddrIn::ip))
        .map(|address| Network { address, prefix: 32 })
        .collect();
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Changes of the host's addresses, as the kernel tells them to everybody (rtnetlink(7)).
#[derive(Debug)]
pub(super) struct HostChanges(AsyncFd<OwnedFd>);

impl HostChanges {
    /// From now on.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub(super) fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        // The default protocol of this family is that of routes and addresses.
        let socket = socket_with(family, kind, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, ADDRESSES))?;
        Ok(Self(wait_on(socket, Interest::READABLE)?))
    }

    /// Waits until something has changed since this was asked last.
    ///
    /// # Errors
    /// When the kernel does not tell any more.
    pub(super) async fn next(&mut self) -> io::Result<()> {
        self.0.readable().await?.retain_ready();
        // What it was is looked at anew; so all that there is to hear counts as one, and as much as
        // the kernel could not keep, too.
        let mut news = [0; NEWS];
        loop {
            match recv(&self.0, &mut news, RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.0.readable().await?.clear_ready_matching(Ready::READABLE);
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A network for VMs that the host neither has an address in nor a route to.
///
/// # Errors
/// When the host's networks cannot be looked at.
pub(super) fn plan_free_subnet() -> io::Result<Option<Subnet>> {
    let mut taken = observe_addresses()?;
    taken.extend(parse_routes(&fs_err::read_to_string(ROUTES)?));
    Ok(find_free(&taken))
}

fn find_free(taken: &[Network]) -> Option<Subnet> {
    CANDIDATES
        .filter_map(|third| format!("172.30.{third}.0/24").parse::<Subnet>().ok())
        .find(|subnet| !taken.iter().any(|taken| subnet.overlaps(taken.address, taken.prefix)))
}

/// The kernel's list of IPv4 routes: hexadecimal words in the machine's byte order; destination and
/// mask are the second and the eighth (proc_net(5)). The default route is not one of somebody's.
fn parse_routes(text: &str) -> Vec<Network> {
    let parse = |line: &str| {
        let mut words = line.split_whitespace();
        let number = |word: Option<&str>| u32::from_str_radix(word?, 16).ok();
        let destination = number(words.nth(1))?;
        let mask = number(words.nth(5))?;
        let address = Ipv4Addr::from(destination.to_ne_bytes());
        let prefix = u32::from_be_bytes(mask.to_ne_bytes()).leading_ones();
        Some(Network { address, prefix: u8::try_from(prefix).ok()? })
    };
    text.lines().skip(1).filter_map(parse).filter(|route| route.prefix > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_uses_is_not_taken() {
        let network = |address: [u8; 4], prefix| Network { address: address.into(), prefix };
        let free = |taken: &[Network]| find_free(taken).map(|subnet| subnet.to_string());
        assert_eq!(free(&[]).as_deref(), Some("172.30.0.0/24"));
        assert_eq!(
            free(&[network([172, 30, 0, 9], 32), network([172, 30, 1, 0], 24)]).as_deref(),
            Some("172.30.2.0/24")
        );
        assert_eq!(free(&[network([172, 16, 0, 0], 12)]), None);
    }

    #[test]
    fn routes_are_read() {
        let text = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                    eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                    eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                    odd\n";
        let found = parse_routes(text);
        assert_eq!(found, [Network { address: Ipv4Addr::new(192, 0, 2, 0), prefix: 24 }]);
    }

    #[test]
    fn this_host_has_its_loopback_address() {
        let found = observe_addresses().unwrap();
        assert!(found.contains(&Network { address: Ipv4Addr::LOCALHOST, prefix: 32 }), "{found:?}");
    }
}
