//! IPv4 addresses of interfaces.

use std::net::IpAddr;

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
