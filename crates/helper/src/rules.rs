//! The text of the rules for nftables. Pure; [`crate::nft`] loads it.
//!
//! Both tables are replaced whole, in one transaction, or ([`difference`]) what is said of guests in them is
//! changed, in one, too. What a guest sends meets, in this order:
//!
//! ```text
//!  tap ─▶ bridge table: is it the guest's own card and address?   no ─▶ dropped
//!           │ yes
//!           ▼
//!         inet table ─┬─ to another guest ────────────▶ passes
//!                     ├─ to the gateway (input) ──────▶ name server, its host ports, echo
//!                     ├─ beyond the uplink (forward) ─▶ for `nat`, but not to @never and @host4
//!                     └─ anything else ───────────────▶ refused at once
//! ```
//!
//! Packets in a connection's first direction meet the policy every time, and answers pass only to guests
//! that may ask: taking a right away ends what is going on, too. Guests are told apart by their address,
//! which the bridge table has made sure of. Isolated ports leave guests no way to each other but by
//! the gateway, so nothing else of the bridge needs rules.

mod difference;
mod guest_sets;

use std::fmt::{Display, Write};
use std::net::Ipv4Addr;

use banger_proto::Subnet;
use banger_proto::helper::{DNS_PORT, Network, Rules, TAP_PREFIX, UPLINK};

pub use difference::render_difference;
use guest_sets::{CARD, GUEST, GuestSet, HOST_PORT, NAT};

use crate::place::{Place, Uplink};

/// What both tables are called.
pub const TABLE: &str = "banger";

/// Mark of the packets that the helper's sockets send to guests: those of no other process of the
/// namespace pass. Setting it takes `CAP_NET_ADMIN`, which no VMM has.
pub const MARK: u32 = 0xfc;

/// Where no guest has business: "this" network, loopback, link-local with the metadata services of
/// clouds, multicast, reserved and broadcast (RFC 6890).
const NEVER: &str = "0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/3";

/// Text that replaces all rules by `rules`.
#[must_use]
pub fn render_rules(place: &Place, rules: &Rules) -> String {
    let mut text = render_no_rules();
    render_bridge_table(&mut text, rules);
    let _ = writeln!(text, "table inet {TABLE} {{");
    render_sets(&mut text, rules);
    render_forward(&mut text, place);
    render_input(&mut text, place, rules.subnet);
    match place.uplink {
        Uplink::Own => {
            render_output(&mut text, place);
            render_reset_fix(&mut text);
        }
        Uplink::Host => render_host_output(&mut text, place),
    }
    let uplink = uplink(place);
    let _ = write!(
        text,
        "  chain post {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname {uplink} ip saddr {} masquerade
  }}
}}
",
        rules.subnet
    );
    text
}

/// Text that removes all rules. A table that is not there cannot be deleted, so it is made first.
#[must_use]
pub fn render_no_rules() -> String {
    ["inet", "bridge"]
        .map(|family| format!("add table {family} {TABLE}\ndelete table {family} {TABLE}\n"))
        .concat()
}

fn uplink(place: &Place) -> String {
    match place.uplink {
        Uplink::Own => format!("\"{UPLINK}\""),
        Uplink::Host => format!("!= \"{}\"", place.bridge),
    }
}

/// Frames whose sender is not who the tap belongs to end here, IPv6 and all other protocols too. Of ARP
/// both places that name a sender are judged: the bridge learns from the one, neighbours from the other.
fn render_bridge_table(text: &mut String, rules: &Rules) {
    let _ = writeln!(text, "table bridge {TABLE} {{");
    render_guest_set(text, &CARD, rules);
    let _ = write!(
        text,
        "  chain pre {{
    type filter hook prerouting priority -300; policy accept;
    iifname != \"{TAP_PREFIX}*\" accept
    ether type ip iifname . ether saddr . ip saddr @card accept
    ether type arp iifname . ether saddr . arp saddr ip @card iifname . arp saddr ether . arp saddr ip @card accept
    counter drop
  }}
}}
"
    );
}

fn render_sets(text: &mut String, rules: &Rules) {
    for set in [GUEST, NAT, HOST_PORT] {
        render_guest_set(text, &set, rules);
    }
    let host = outermost(&rules.host_addresses)
        .into_iter()
        .map(|network| format!("{}/{}", network.address, network.prefix));
    render_set(text, "host4", "ipv4_addr; flags interval", host);
    render_set(text, "never", "ipv4_addr; flags interval", [NEVER]);
}

fn render_guest_set(text: &mut String, set: &GuestSet, rules: &Rules) {
    render_set(text, set.name, set.of, (set.elements)(rules));
}

/// A line for each element, so that rules of many guests can be read and compared.
fn render_set<T: Display>(
    text: &mut String,
    name: &str,
    of: &str,
    elements: impl IntoIterator<Item = T>,
) {
    let _ = writeln!(text, "  set {name} {{\n    type {of}");
    let mut elements = elements.into_iter().peekable();
    // A set without elements cannot be written with an empty list of them.
    if elements.peek().is_some() {
        text.push_str("    elements = {\n");
        for element in elements {
            let _ = writeln!(text, "      {element},");
        }
        text.push_str("    }\n");
    }
    text.push_str("  }\n");
}

fn render_forward(text: &mut String, place: &Place) {
    let (bridge, uplink) = (&place.bridge, uplink(place));
    let (policy, others) = match place.uplink {
        Uplink::Own => ("drop", String::new()),
        Uplink::Host => {
            ("accept", format!("    iifname != \"{bridge}\" oifname != \"{bridge}\" accept\n"))
        }
    };
    let _ = write!(
        text,
        "  chain forward {{
    type filter hook forward priority filter; policy {policy};
{others}    meta nfproto ipv6 counter drop
    iifname \"{bridge}\" oifname \"{bridge}\" ip saddr @guest ip daddr @guest accept
    ct state invalid counter drop
    iifname {uplink} oifname \"{bridge}\" ct direction reply ct state established,related ip daddr @nat accept
    iifname \"{bridge}\" oifname {uplink} ip saddr @nat ip daddr != @never ip daddr != @host4 accept
{}    counter drop
  }}
",
        refuse(place)
    );
}

fn render_input(text: &mut String, place: &Place, subnet: Subnet) {
    let (bridge, gateway) = (&place.bridge, subnet.gateway());
    let (policy, others) = match place.uplink {
        Uplink::Own => ("drop", "    iifname \"lo\" accept\n".to_owned()),
        // Neighbours of the host could send to the gateway, which is an address of the host's, too.
        Uplink::Host => (
            "accept",
            format!(
                "    iifname != {{ \"{bridge}\", \"lo\" }} ip daddr {subnet} counter drop
    iifname != \"{bridge}\" accept
"
            ),
        ),
    };
    let _ = write!(
        text,
        "  chain input {{
    type filter hook input priority filter; policy {policy};
{others}    meta nfproto ipv6 counter drop
    ct direction reply ct state established,related accept
    iifname \"{bridge}\" ip saddr @guest ip daddr {gateway} meta l4proto {{ tcp, udp }} th dport {DNS_PORT} accept
    iifname \"{bridge}\" ip daddr {gateway} ip saddr . tcp dport @host_port accept
    iifname \"{bridge}\" ip saddr @guest ip daddr {gateway} icmp type echo-request accept
{}    counter drop
  }}
",
        refuse(place)
    );
}

/// At once, so that programs do not wait. A reset ends a connection that is going on; the kernel limits
/// the rate of the other.
fn refuse(place: &Place) -> String {
    let bridge = &place.bridge;
    format!(
        "    iifname \"{bridge}\" meta l4proto tcp counter reject with tcp reset
    iifname \"{bridge}\" counter reject with icmpx admin-prohibited
"
    )
}

/// In a namespace of its own nobody else has anything to send: not a VMM that a guest has taken over
/// either, which could dial guests as the gateway or leave by the uplink.
fn render_output(text: &mut String, place: &Place) {
    let bridge = &place.bridge;
    let _ = write!(
        text,
        "  chain output {{
    type filter hook output priority filter; policy drop;
    oifname \"lo\" accept
    ct direction reply ct state established,related accept
    oifname \"{bridge}\" meta mark {MARK:#x} accept
    oifname \"{bridge}\" icmp type {{ destination-unreachable, time-exceeded, parameter-problem }} accept
    counter drop
  }}
"
    );
}

/// In the host, guests answer root and their owner only. Of packets without a process nothing is asked: the
/// kernel's own, and the last ones of sockets that are closed, whose connection was let through before.
/// Redirects would tell guests of each other, who are not on one wire.
fn render_host_output(text: &mut String, place: &Place) {
    let bridge = &place.bridge;
    let others = match place.tap_owner {
        0 => "meta skuid != 0".to_owned(),
        owner => format!("meta skuid != {{ 0, {owner} }}"),
    };
    let _ = write!(
        text,
        "  chain output {{
    type filter hook output priority filter; policy accept;
    oifname != \"{bridge}\" accept
    meta nfproto ipv6 counter drop
    icmp type redirect counter drop
    {others} meta l4proto tcp counter reject with tcp reset
    {others} counter reject with icmpx admin-prohibited
  }}
"
    );
}

/// pasta of 2023 refuses connections with a reset that acknowledges nothing, which the kernel of a guest
/// does not believe: it would wait until it gives up.
fn render_reset_fix(text: &mut String) {
    let _ = write!(
        text,
        "  chain fixrst {{
    type filter hook prerouting priority raw - 10; policy accept;
    iifname \"{UPLINK}\" tcp flags & (fin | syn | rst | psh | ack) == rst tcp flags set rst | ack counter
  }}
"
    );
}

/// Networks without those that lie in others of them: nftables takes no intervals that overlap.
fn outermost(networks: &[Network]) -> Vec<Network> {
    let mut sorted: Vec<Network> = networks
        .iter()
        .map(|Network { address, prefix }| {
            let mask = u32::MAX.checked_shl(32 - u32::from(*prefix)).unwrap_or(0);
            Network { address: Ipv4Addr::from(u32::from(*address) & mask), prefix: *prefix }
        })
        .collect();
    // The larger of two that begin at one address comes first.
    sorted.sort();
    let mut kept: Vec<Network> = Vec::new();
    for network in sorted {
        let inside = kept.last().is_some_and(|last| {
            let mask = u32::MAX.checked_shl(32 - u32::from(last.prefix)).unwrap_or(0);
            u32::from(network.address) & mask == u32::from(last.address)
        });
        if !inside {
            kept.push(network);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use banger_proto::helper::GuestRules;

    use super::*;

    pub(super) fn rules() -> Rules {
        let guest = |vm: &str, last, nat, host_ports: &[u16]| GuestRules {
            vm: vm.parse().unwrap(),
            address: Ipv4Addr::new(172, 30, 0, last),
            nat,
            host_ports: host_ports.to_vec(),
        };
        let network = |address: [u8; 4], prefix| Network { address: address.into(), prefix };
        Rules {
            subnet: "172.30.0.0/24".parse().unwrap(),
            host_addresses: vec![
                network([198, 51, 100, 2], 32),
                network([10, 255, 77, 2], 30),
                network([10, 255, 77, 1], 32),
                network([198, 51, 100, 2], 32),
            ],
            guests: vec![
                guest("0a0000000001", 2, true, &[8080, 5432]),
                guest("0a0000000002", 3, false, &[]),
            ],
        }
    }

    #[test]
    fn in_a_namespace_of_its_own() {
        insta::assert_snapshot!(render_rules(&Place::own(Default::default()), &rules()));
    }

    #[test]
    fn in_the_host() {
        let place = Place::host("br-x".parse().unwrap(), 1000);
        insta::assert_snapshot!(render_rules(&place, &rules()));
    }

    #[test]
    fn root_is_its_own_owner() {
        let text = render_rules(&Place::host(Default::default(), 0), &rules());
        assert!(text.contains("    meta skuid != 0 counter reject"), "{text}");
    }

    #[test]
    fn networks_in_others_are_left_out() {
        let network = |address: [u8; 4], prefix| Network { address: address.into(), prefix };
        assert_eq!(
            outermost(&[
                network([10, 0, 0, 9], 32),
                network([10, 1, 0, 0], 16),
                network([10, 0, 0, 77], 8),
                network([9, 255, 255, 255], 32),
                network([11, 0, 0, 0], 32),
                network([255, 1, 1, 1], 1),
                network([128, 0, 0, 0], 32),
            ]),
            [
                network([9, 255, 255, 255], 32),
                network([10, 0, 0, 0], 8),
                network([11, 0, 0, 0], 32),
                network([128, 0, 0, 0], 1),
            ]
        );
    }
}
