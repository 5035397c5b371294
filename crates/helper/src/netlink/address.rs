//! IPv4 addresses of interfaces.

use std::net::{IpAddr, Ipv4Addr};

use banger_proto::helper::Network;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;

use super::{Netlink, NetlinkError};

impl Netlink {
    /// The addresses of all interfaces, each with the interface's number.
    ///
    /// # Errors
    ///
    /// The kernel cannot be asked.
    pub fn addresses(&mut self) -> Result<Vec<(u32, Network)>, NetlinkError> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        let answers = self.dump(RouteNetlinkMessage::GetAddress(message))?;
        Ok(answers.into_iter().filter_map(parse_address).collect())
    }

    /// The networks that interfaces are in, each with the interface's number. On a line between two points
    /// that is the other's, and the interface's own address besides.
    ///
    /// # Errors
    ///
    /// The kernel cannot be asked.
    pub fn networks(&mut self) -> Result<Vec<(u32, Network)>, NetlinkError> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        let answers = self.dump(RouteNetlinkMessage::GetAddress(message))?;
        Ok(answers.into_iter().flat_map(parse_networks).collect())
    }

    /// Gives an interface an address; one that it has already stays.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn add_address(&mut self, link: u32, address: Network) -> Result<(), NetlinkError> {
        let message = RouteNetlinkMessage::NewAddress(of(link, address));
        match self.change(message, NLM_F_CREATE | NLM_F_EXCL) {
            Err(error) if error.is(Errno::EXIST) => Ok(()),
            done => done,
        }
    }

    /// Takes an address from an interface; one that it does not have is taken.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn remove_address(&mut self, link: u32, address: Network) -> Result<(), NetlinkError> {
        match self.change(RouteNetlinkMessage::DelAddress(of(link, address)), 0) {
            Err(error) if error.is(Errno::ADDRNOTAVAIL) => Ok(()),
            done => done,
        }
    }
}

fn of(link: u32, Network { address, prefix }: Network) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = prefix;
    message.header.index = link;
    message.attributes = vec![
        AddressAttribute::Local(IpAddr::V4(address)),
        AddressAttribute::Address(IpAddr::V4(address)),
    ];
    message
}

fn parse_address(message: RouteNetlinkMessage) -> Option<(u32, Network)> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    let prefix = message.header.prefix_len;
    message.attributes.iter().find_map(|attribute| match attribute {
        // Of a line between two points `Address` is the other's; `Local` is always the interface's own.
        AddressAttribute::Local(IpAddr::V4(address)) => {
            Some((message.header.index, Network { address: *address, prefix }))
        }
        _ => None,
    })
}

fn parse_networks(message: RouteNetlinkMessage) -> Vec<(u32, Network)> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return Vec::new() };
    let (index, prefix) = (message.header.index, message.header.prefix_len);
    let network = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Address(IpAddr::V4(address)) => Some(network_of(*address, prefix)),
        AddressAttribute::Local(IpAddr::V4(address)) => Some(network_of(*address, 32)),
        _ => None,
    };
    let mut networks: Vec<Network> = message.attributes.iter().filter_map(network).collect();
    // The whole before its parts: that is what is told.
    networks.sort_by_key(|network| network.prefix);
    networks.into_iter().map(|network| (index, network)).collect()
}

fn network_of(address: Ipv4Addr, prefix: u8) -> Network {
    let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
    Network { address: Ipv4Addr::from(u32::from(address) & mask), prefix }
}
