//! IPv4 routes.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;

use super::{Netlink, NetlinkError};

impl Netlink {
    /// Sends what no other route is for to an interface, which must be up; one of lower `metric` wins.
    /// A route that there is already stays.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn add_default_route(&mut self, link: u32, metric: u32) -> Result<(), NetlinkError> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.scope = RouteScope::Link;
        message.header.kind = RouteType::Unicast;
        message.attributes = vec![RouteAttribute::Oif(link), RouteAttribute::Priority(metric)];
        match self.change(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL) {
            Err(error) if error.is(Errno::EXIST) => Ok(()),
            done => done,
        }
    }
}
