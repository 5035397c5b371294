//! Changing interfaces, addresses and routes by rtnetlink(7): one request, one acknowledgement.
//!
//! Every verb may be repeated: what is already as it should be is no error.

use std::io;
use std::net::Ipv4Addr;

use banger_proto::MacAddress;
use netlink_packet_core::{
    DecodeError, Emitable, NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST,
    NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// Bytes of an acknowledgement and more: it carries at most the request, a few words long.
const ANSWER: usize = 4096;

/// `RTM_SETLINK`, `RTM_NEWADDR`, `RTM_DELADDR` and `RTM_NEWROUTE` of linux/rtnetlink.h.
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const REMOVE_ADDRESS: u16 = 21;
const NEW_ROUTE: u16 = 24;

/// A conversation with the kernel about the network namespace that the process is in.
#[derive(Debug)]
pub(super) struct RouteSocket {
    socket: Socket,
    sequence: u32,
}

impl RouteSocket {
    /// Opens one.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Brings up the interface with this index.
    pub(super) fn raise(&mut self, interface: u32) -> io::Result<()> {
        self.set_state(interface, LinkFlags::Up)
    }

    /// Takes down an interface, and with it every route that leads out of it.
    pub(super) fn lower(&mut self, interface: u32) -> io::Result<()> {
        self.set_state(interface, LinkFlags::empty())
    }

    fn set_state(&mut self, interface: u32, state: LinkFlags) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = interface;
        message.header.flags = state;
        message.header.change_mask = LinkFlags::Up;
        self.request(Request { kind: SET_LINK, body: &message }, 0)
    }

    /// Sets the hardware's address of an interface, which may have to be down for that.
    pub(super) fn set_mac(&mut self, interface: u32, mac: MacAddress) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = interface;
        message.attributes.push(LinkAttribute::Address(mac.bytes().to_vec()));
        self.request(Request { kind: SET_LINK, body: &message }, 0)
    }

    /// Sets the most bytes in a packet of an interface.
    pub(super) fn set_mtu(&mut self, interface: u32, mtu: u16) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = interface;
        message.attributes.push(LinkAttribute::Mtu(mtu.into()));
        self.request(Request { kind: SET_LINK, body: &message }, 0)
    }

    /// Gives an interface an address in a network of `prefix` bits, which the kernel makes a
    /// route to.
    pub(super) fn set_address(
        &mut self,
        interface: u32,
        address: Ipv4Addr,
        prefix: u8,
    ) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = prefix;
        message.header.index = interface;
        message.attributes.push(AddressAttribute::Local(address.into()));
        message.attributes.push(AddressAttribute::Address(address.into()));
        self.request(Request { kind: NEW_ADDRESS, body: &message }, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Takes from an interface every address of IPv4.
    pub(super) fn remove_addresses(&mut self, interface: u32) -> io::Result<()> {
        // Which one is not said, so it is the first that there is.
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.index = interface;
        loop {
            match self.request(Request { kind: REMOVE_ADDRESS, body: &message }, 0) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends everything that has no route of its own to `gateway`, out of an interface.
    pub(super) fn set_default_route(
        &mut self,
        interface: u32,
        gateway: Ipv4Addr,
    ) -> io::Result<()> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        message.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet(gateway)));
        message.attributes.push(RouteAttribute::Oif(interface));
        self.request(Request { kind: NEW_ROUTE, body: &message }, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Sends a request and reads the kernel's word on it, which is there when sending returns.
    fn request(&mut self, request: Request<'_>, flags: u16) -> io::Result<()> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut answer = Vec::with_capacity(ANSWER);
        self.socket.recv(&mut answer, 0)?;
        parse_answer(&answer, self.sequence)
    }
}

/// A request of any of the kinds above. The library's own sum of all messages that there are would
/// bring the code for all of them into the agent: some 400 KB.
struct Request<'a> {
    kind: u16,
    body: &'a dyn Emitable,
}

impl NetlinkSerializable for Request<'_> {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.body.buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        self.body.emit(buffer);
    }
}

/// A message that is no acknowledgement, for the same reason not looked into.
#[derive(Debug)]
struct Unread;

impl NetlinkDeserializable for Unread {
    type Error = DecodeError;

    fn deserialize(_header: &NetlinkHeader, _payload: &[u8]) -> Result<Self, Self::Error> {
        Ok(Self)
    }
}

/// What the kernel says to the request with this number.
fn parse_answer(bytes: &[u8], sequence: u32) -> io::Result<()> {
    let odd = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let answer =
        NetlinkMessage::<Unread>::deserialize(bytes).map_err(|error| odd(error.to_string()))?;
    match answer.payload {
        NetlinkPayload::Error(error) if answer.header.sequence_number == sequence => {
            match error.code {
                None => Ok(()),
                Some(_) => Err(error.to_io()),
            }
        }
        _ => Err(odd("the kernel answered something else".to_owned())),
    }
}
