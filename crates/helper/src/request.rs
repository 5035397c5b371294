//! What a caller may ask: the one place where its word is checked, before anything is tried.
//!
//! A packet comes from a program that may have been taken over. Everything that an operation uses comes
//! out of a [`Checked`], and there is no other way to one than [`parse_request`].

use std::collections::HashSet;
use std::net::Ipv4Addr;

use banger_proto::VmId;
use banger_proto::helper::{
    DNS_PORT, GuestRules, MAX_GUESTS, MAX_HOST_ADDRESSES, MAX_HOST_PORTS, MAX_PACKET, Network,
    Request, Rules,
};

/// A request that may be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked(Request);

impl Checked {
    /// What is asked.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.0
    }
}

/// Why nothing was tried.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Longer than any request can be.
    #[error("a packet has more than {MAX_PACKET} bytes")]
    TooLong,
    /// Not the JSON of a request.
    #[error("a packet is not a request")]
    Form(#[source] serde_json::Error),
    /// A port that is not for this.
    #[error("port {0} cannot be listened at: take one other than 0 and {DNS_PORT}")]
    Port(u16),
    /// Nobody listens there.
    #[error("a name server cannot listen at port 0")]
    NoPort,
    /// More than rules can have.
    #[error("{there} {what}, at most {most}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        there: usize,
        /// How many there may be.
        most: usize,
    },
    /// Not a network.
    #[error("`{0}/{1}` is not a network of the host: its prefix is 1 to 32")]
    Prefix(Ipv4Addr, u8),
    /// An address that no guest can have.
    #[error("VM `{0}` cannot have the address {1} in network `{2}`")]
    Address(VmId, Ipv4Addr, String),
    /// Two guests with one address.
    #[error("VM `{0}` has the address {1} of another")]
    SameAddress(VmId, Ipv4Addr),
    /// One guest twice.
    #[error("VM `{0}` is there twice")]
    SameVm(VmId),
    /// A port of the host that cannot be meant.
    #[error(
        "VM `{0}` cannot be let to port {1} of the host: it is 0, twice there or the name server's"
    )]
    HostPort(VmId, u16),
}

/// What a packet asks for.
///
/// # Errors
///
/// It is not a request, or one that asks for what cannot be.
pub fn parse_request(packet: &[u8]) -> Result<Checked, Refusal> {
    if packet.len() > MAX_PACKET {
        return Err(Refusal::TooLong);
    }
    let request: Request = serde_json::from_slice(packet).map_err(Refusal::Form)?;
    match &request {
        Request::ApplyRules(rules) => check_rules(rules)?,
        Request::ListenTcp { port, .. } if [0, DNS_PORT].contains(port) => {
            return Err(Refusal::Port(*port));
        }
        Request::RouteNames { port: 0 } => return Err(Refusal::NoPort),
        // Ids and subnets cannot be read when they are wrong.
        Request::Observe {}
        | Request::EnsureBridge { .. }
        | Request::RemoveBridge {}
        | Request::EnsureTap { .. }
        | Request::RemoveTap { .. }
        | Request::RevertRules {}
        | Request::ListenDns { .. }
        | Request::ListenTcp { .. }
        | Request::RouteNames { .. }
        | Request::UnrouteNames {}
        | Request::EnterScope { .. } => {}
    }
    Ok(Checked(request))
}

fn check_rules(rules: &Rules) -> Result<(), Refusal> {
    at_most(MAX_HOST_ADDRESSES, "addresses of the host", rules.host_addresses.len())?;
    at_most(MAX_GUESTS, "guests", rules.guests.len())?;
    for Network { address, prefix } in &rules.host_addresses {
        // All addresses at once are no host's; and 0 bits have no mask.
        if !(1..=32).contains(prefix) {
            return Err(Refusal::Prefix(*address, *prefix));
        }
    }
    let (mut vms, mut addresses) = (HashSet::new(), HashSet::new());
    for guest in &rules.guests {
        let GuestRules { vm, address, .. } = guest;
        if !rules.subnet.is_guest(*address) {
            return Err(Refusal::Address(vm.clone(), *address, rules.subnet.to_string()));
        }
        if !vms.insert(vm) {
            return Err(Refusal::SameVm(vm.clone()));
        }
        if !addresses.insert(address) {
            return Err(Refusal::SameAddress(vm.clone(), *address));
        }
        check_host_ports(guest)?;
    }
    Ok(())
}

fn check_host_ports(guest: &GuestRules) -> Result<(), Refusal> {
    at_most(MAX_HOST_PORTS, "ports of the host for one guest", guest.host_ports.len())?;
    let mut ports = HashSet::new();
    for port in &guest.host_ports {
        if [0, DNS_PORT].contains(port) || !ports.insert(port) {
            return Err(Refusal::HostPort(guest.vm.clone(), *port));
        }
    }
    Ok(())
}

fn at_most(most: usize, what: &'static str, there: usize) -> Result<(), Refusal> {
    if there > most { Err(Refusal::TooMany { what, there, most }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn refused(packet: &Value) -> String {
        let refusal = parse_request(packet.to_string().as_bytes()).unwrap_err();
        std::iter::once(refusal.to_string())
            .chain(crate::causes(&refusal))
            .collect::<Vec<_>>()
            .join(": ")
    }

    fn rules(change: impl FnOnce(&mut Value)) -> Value {
        let mut rules = json!({
            "operation": "apply_rules",
            "subnet": "172.30.0.0/24",
            "host_addresses": [{"address": "198.51.100.2", "prefix": 32}],
            "guests": [
                {"vm": "00000000000a", "address": "172.30.0.2", "nat": true, "host_ports": [8080]},
                {"vm": "00000000000b", "address": "172.30.0.3", "nat": false, "host_ports": []},
            ],
        });
        change(&mut rules);
        rules
    }

    #[test]
    fn accepts_every_operation() {
        let subnet = "10.9.0.0/22";
        let vm = "0123456789ab";
        for packet in [
            json!({"operation": "observe"}),
            json!({"operation": "ensure_bridge", "subnet": subnet}),
            json!({"operation": "remove_bridge"}),
            json!({"operation": "ensure_tap", "vm": vm}),
            json!({"operation": "remove_tap", "vm": vm}),
            json!({"operation": "revert_rules"}),
            json!({"operation": "listen_dns", "subnet": subnet}),
            json!({"operation": "listen_tcp", "subnet": subnet, "port": 7000}),
            json!({"operation": "route_names", "port": 42069}),
            json!({"operation": "unroute_names"}),
            json!({"operation": "enter_scope", "vm": vm}),
            rules(|_| ()),
        ] {
            let checked = parse_request(packet.to_string().as_bytes()).unwrap();
            let again = serde_json::to_vec(checked.request()).unwrap();
            assert_eq!(parse_request(&again).unwrap(), checked, "{packet}");
        }
    }

    #[test]
    fn refuses_what_is_no_request() {
        for packet in [
            &b""[..],
            b"{}",
            b"[]",
            b"\xff\xfe",
            b"{\"operation\":\"observe\"}x",
            b"{\"operation\":\"observe\",\"operation\":\"remove_bridge\"}",
            b"{\"operation\":\"observe\",\"more\":1}",
            b"{\"operation\":\"remove_bridge\",\"bridge\":\"eth0\"}",
            b"{\"operation\":\"become_root\"}",
            b"{\"operation\":\"ensure_tap\",\"vm\":\"../../etc\"}",
            b"{\"operation\":\"ensure_tap\",\"vm\":\"0123456789a\\u0000\"}",
            b"{\"operation\":\"ensure_tap\",\"vm\":\"0123456789ab\\n\"}",
            b"{\"operation\":\"ensure_tap\",\"vm\":\"0123456789ab\",\"vm\":\"0123456789ab\"}",
            b"{\"operation\":\"ensure_bridge\",\"subnet\":\"8.8.8.0/24\"}",
            b"{\"operation\":\"route_names\"}",
            b"{\"operation\":\"route_names\",\"port\":\"53\"}",
            b"{\"operation\":\"route_names\",\"port\":42069,\"server\":\"192.0.2.1\"}",
            b"{\"operation\":\"unroute_names\",\"bridge\":\"eth0\"}",
            b"{\"operation\":\"enter_scope\",\"vm\":\"0123456789ab.scope\"}",
            b"{\"operation\":\"enter_scope\",\"vm\":\"0123456789ab\",\"process\":1}",
            b"{\"operation\":\"listen_tcp\",\"subnet\":\"172.30.0.0/24\",\"port\":65536}",
        ] {
            let refusal = parse_request(packet).unwrap_err();
            assert!(matches!(refusal, Refusal::Form(_)), "{refusal}");
        }
        let deep = [b"[".repeat(MAX_PACKET / 2), b"]".repeat(MAX_PACKET / 2)].concat();
        assert!(matches!(parse_request(&deep), Err(Refusal::Form(_))));
        assert!(matches!(parse_request(&vec![b' '; MAX_PACKET + 1]), Err(Refusal::TooLong)));
    }

    #[test]
    fn refuses_rules_that_cannot_be() {
        let guest = |n: usize| json!({"vm": format!("{n:012x}"), "address": format!("172.30.{}.{}", n / 256, n % 256), "nat": true, "host_ports": []});
        let first =
            |rules: &mut Value, field: &str, value: Value| rules["guests"][0][field] = value;
        let seen = [
            refused(&json!({"operation": "listen_tcp", "subnet": "172.30.0.0/24", "port": 0})),
            refused(&json!({"operation": "listen_tcp", "subnet": "172.30.0.0/24", "port": 53})),
            refused(&json!({"operation": "route_names", "port": 0})),
            refused(&rules(|r| r["more"] = json!(1))),
            refused(&rules(|r| first(r, "more", json!(1)))),
            refused(&rules(|r| r["host_addresses"][0]["prefix"] = json!(0))),
            refused(&rules(|r| r["host_addresses"][0]["prefix"] = json!(33))),
            refused(&rules(|r| r["host_addresses"][0]["address"] = json!("::1"))),
            refused(&rules(|r| first(r, "address", json!("172.30.0.1")))),
            refused(&rules(|r| first(r, "address", json!("172.30.0.255")))),
            refused(&rules(|r| first(r, "address", json!("172.30.1.2")))),
            refused(&rules(|r| first(r, "address", json!("172.30.0.3")))),
            refused(&rules(|r| first(r, "vm", json!("00000000000b")))),
            refused(&rules(|r| first(r, "host_ports", json!([0])))),
            refused(&rules(|r| first(r, "host_ports", json!([53])))),
            refused(&rules(|r| first(r, "host_ports", json!([80, 80])))),
            refused(&rules(|r| first(r, "host_ports", json!((1000..1065).collect::<Vec<_>>())))),
            refused(&rules(|r| {
                r["subnet"] = json!("172.30.0.0/22");
                r["guests"] = (2..1003).map(guest).collect();
            })),
            refused(&rules(|r| {
                let address = |n: u8| json!({"address": format!("198.51.100.{n}"), "prefix": 32});
                r["host_addresses"] = (0..=255).chain([0]).map(address).collect();
            })),
        ];
        insta::assert_snapshot!(seen.join("\n"));
    }

    #[test]
    fn the_most_there_can_be_is_accepted() {
        let packet = rules(|rules| {
            rules["subnet"] = json!("172.30.0.0/22");
            rules["guests"] = (2..1002)
                .map(|n| json!({"vm": format!("{n:012x}"), "address": format!("172.30.{}.{}", n / 256, n % 256), "nat": true, "host_ports": []}))
                .collect();
        });
        assert!(parse_request(packet.to_string().as_bytes()).is_ok());
    }
}
