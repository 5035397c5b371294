//! The sets of the tables that say something of guests: what comes and goes with them.

use banger_proto::helper::{Rules, tap_name};

/// A set whose elements are guests, or what they may.
#[derive(Debug, Clone, Copy)]
pub(super) struct GuestSet {
    /// That of its table.
    pub(super) family: &'static str,
    pub(super) name: &'static str,
    /// What an element is, in the words of nftables.
    pub(super) of: &'static str,
    /// Those that it has, in the order of the guests.
    pub(super) elements: fn(&Rules) -> Vec<String>,
}

/// Who may send what by which tap.
pub(super) const CARD: GuestSet = GuestSet {
    family: "bridge",
    name: "card",
    of: "ifname . ether_addr . ipv4_addr",
    elements: |rules| {
        let guests = rules.guests.iter();
        let card = |vm, mac, address| format!("\"{}\" . {mac} . {address}", tap_name(vm));
        guests.map(|guest| card(&guest.vm, guest.mac(), guest.address)).collect()
    },
};

/// Who is there.
pub(super) const GUEST: GuestSet = GuestSet {
    family: "inet",
    name: "guest",
    of: "ipv4_addr",
    elements: |rules| rules.guests.iter().map(|guest| guest.address.to_string()).collect(),
};

/// Who may leave.
pub(super) const NAT: GuestSet = GuestSet {
    family: "inet",
    name: "nat",
    of: "ipv4_addr",
    elements: |rules| {
        let guests = rules.guests.iter().filter(|guest| guest.nat);
        guests.map(|guest| guest.address.to_string()).collect()
    },
};

/// Who reaches which port of the host.
pub(super) const HOST_PORT: GuestSet = GuestSet {
    family: "inet",
    name: "host_port",
    of: "ipv4_addr . inet_service",
    elements: |rules| {
        let of_guest = |(address, ports): (_, &[u16])| -> Vec<String> {
            ports.iter().map(|port| format!("{address} . {port}")).collect()
        };
        let guests = rules.guests.iter().map(|guest| (guest.address, &guest.host_ports[..]));
        guests.flat_map(of_guest).collect()
    },
};

/// All of them.
pub(super) const GUEST_SETS: [GuestSet; 4] = [CARD, GUEST, NAT, HOST_PORT];
