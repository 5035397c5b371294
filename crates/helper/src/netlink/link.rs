//! Interfaces: what there is, and what is done to one.

use banger_proto::MacAddress;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, Nla};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind,
    InfoTun, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rustix::io::Errno;

use super::{Netlink, NetlinkError};

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// What it is called.
    pub name: String,
    /// What it is.
    pub kind: LinkKind,
    /// Whether it is switched on.
    pub up: bool,
    /// Its card's address; empty without.
    pub mac: Vec<u8>,
    /// Most bytes in a packet.
    pub mtu: u32,
    /// The number of the bridge, or whatever else, that it belongs to.
    pub controller: Option<u32>,
}

/// What an interface is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// The loopback.
    Loopback,
    /// A bridge.
    Bridge,
    /// A tun or tap.
    Tap(Tap),
    /// Something else: the kernel's word for it, empty for a card.
    Other(String),
}

/// What the kernel says of a tun or tap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tap {
    /// Whether frames of Ethernet go through it: it is a tap, not a tun.
    pub ethernet: bool,
    /// Who may attach to it.
    pub owner: Option<u32>,
    /// Whether each frame has a header of virtio's.
    pub vnet_header: bool,
    /// Whether it stays when nobody is attached.
    pub persistent: bool,
}

impl Netlink {
    /// All interfaces.
    ///
    /// # Errors
    ///
    /// The kernel cannot be asked.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let answers = self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        Ok(answers.into_iter().filter_map(parse_link).collect())
    }

    /// The interface called so, if there is one.
    ///
    /// # Errors
    ///
    /// The kernel cannot be asked.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match self.request(RouteNetlinkMessage::GetLink(message), NLM_F_ACK) {
            Ok(answers) => Ok(answers.into_iter().find_map(parse_link)),
            Err(error) if error.is(Errno::NODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a bridge that forwards at once: there is nothing behind its ports that could make a circle.
    ///
    /// # Errors
    ///
    /// `EEXIST`, or the kernel has no bridges.
    pub fn add_bridge(
        &mut self,
        name: &str,
        mac: MacAddress,
        mtu: u32,
    ) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Address(mac.bytes().to_vec()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bridge),
                LinkInfo::Data(InfoData::Bridge(vec![
                    InfoBridge::StpState(BridgeStpState::Disabled),
                    InfoBridge::ForwardDelay(0),
                ])),
            ]),
        ];
        self.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Gives an interface the address of a card.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn set_mac(&mut self, link: u32, mac: MacAddress) -> Result<(), NetlinkError> {
        let attributes = vec![LinkAttribute::Address(mac.bytes().to_vec())];
        self.change(RouteNetlinkMessage::SetLink(of(link, attributes)), 0)
    }

    /// Says how many bytes a packet may have.
    ///
    /// # Errors
    ///
    /// The kernel refuses: a tap takes 65,521.
    pub fn set_mtu(&mut self, link: u32, mtu: u32) -> Result<(), NetlinkError> {
        self.change(RouteNetlinkMessage::SetLink(of(link, vec![LinkAttribute::Mtu(mtu)])), 0)
    }

    /// Makes an interface a port of a bridge.
    ///
    /// # Errors
    ///
    /// The kernel refuses: a bridge has 1,023 ports.
    pub fn set_bridge(&mut self, link: u32, bridge: u32) -> Result<(), NetlinkError> {
        let attributes = vec![LinkAttribute::Controller(bridge)];
        self.change(RouteNetlinkMessage::SetLink(of(link, attributes)), 0)
    }

    /// Keeps a port of a bridge from all other ports that are kept so: only the host is reached by it.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn set_isolated(&mut self, port: u32) -> Result<(), NetlinkError> {
        let attributes = vec![LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::Isolated(true)])),
        ])];
        // The kernel reads a port's settings in this message only, not in SetLink.
        self.change(RouteNetlinkMessage::NewLink(of(port, attributes)), 0)
    }

    /// Switches an interface on.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn set_up(&mut self, link: u32) -> Result<(), NetlinkError> {
        let mut message = of(link, Vec::new());
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.change(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Removes an interface. One that has gone meanwhile is removed.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn remove_link(&mut self, link: u32) -> Result<(), NetlinkError> {
        match self.change(RouteNetlinkMessage::DelLink(of(link, Vec::new())), 0) {
            Err(error) if error.is(Errno::NODEV) => Ok(()),
            done => done,
        }
    }
}

fn of(link: u32, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = link;
    message.attributes = attributes;
    message
}

fn parse_link(message: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        kind: LinkKind::Other(String::new()),
        up: message.header.flags.contains(LinkFlags::Up),
        mac: Vec::new(),
        mtu: 0,
        controller: None,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(mac) => link.mac = mac,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(index) => link.controller = Some(index),
            LinkAttribute::LinkInfo(info) => link.kind = parse_kind(&info),
            _ => {}
        }
    }
    if message.header.flags.contains(LinkFlags::Loopback) {
        link.kind = LinkKind::Loopback;
    }
    Some(link)
}

fn parse_kind(info: &[LinkInfo]) -> LinkKind {
    let kind = info.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    });
    match kind {
        Some(InfoKind::Bridge) => LinkKind::Bridge,
        Some(InfoKind::Tun) => {
            let attributes = info.iter().find_map(|info| match info {
                LinkInfo::Data(InfoData::Tun(attributes)) => Some(attributes.as_slice()),
                _ => None,
            });
            LinkKind::Tap(parse_tap(attributes.unwrap_or_default()))
        }
        Some(kind) => LinkKind::Other(kind.to_string()),
        None => LinkKind::Other(String::new()),
    }
}

fn parse_tap(attributes: &[InfoTun]) -> Tap {
    // Numbers of `IFLA_TUN_…` in `linux/if_link.h`, and `IFF_TAP`.
    const OWNER: u16 = 1;
    const TYPE: u16 = 3;
    const VNET_HEADER: u16 = 5;
    const PERSIST: u16 = 6;
    const TAP: u8 = 2;
    let mut tap = Tap::default();
    for attribute in attributes {
        let mut value = vec![0; attribute.value_len()];
        attribute.emit_value(&mut value);
        match (attribute.kind(), value.as_slice()) {
            (OWNER, &[a, b, c, d]) => tap.owner = Some(u32::from_ne_bytes([a, b, c, d])),
            (TYPE, &[kind]) => tap.ethernet = kind == TAP,
            (VNET_HEADER, &[is]) => tap.vnet_header = is != 0,
            (PERSIST, &[is]) => tap.persistent = is != 0,
            _ => {}
        }
    }
    tap
}
