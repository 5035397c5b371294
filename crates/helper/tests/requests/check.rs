//! What must hold of every packet, whoever sends it. Shared by the tests and the fuzzer.

use std::net::Ipv4Addr;

use banger_helper::place::{Place, Uplink};
use banger_helper::request::parse_request;
use banger_helper::rules::render_rules;
use banger_proto::helper::{Request, Rules, TAP_PREFIX};
use banger_proto::{MacAddress, VmId};
use serde_json::{Map, Value, json};

/// Reading the packet does not panic; what is accepted is read the same again, and its rules say nothing
/// but what rules of no guests say, with elements of sets in between.
pub(crate) fn packet(packet: &[u8]) -> bool {
    let Ok(checked) = parse_request(packet) else { return false };
    let again = serde_json::to_vec(checked.request()).expect("JSON");
    assert_eq!(parse_request(&again).expect("the same request"), checked);
    if let Request::ApplyRules(rules) = checked.request() {
        for uplink in [Uplink::Own, Uplink::Host] {
            let place = Place { uplink, ..Place::own(Default::default()) };
            check_text(&place, rules);
        }
    }
    true
}

fn check_text(place: &Place, rules: &Rules) {
    let nobody = Rules { guests: Vec::new(), host_addresses: Vec::new(), ..rules.clone() };
    let frame = render_rules(place, &nobody);
    let mut expected = frame.lines();
    let mut wanted = expected.next();
    for line in render_rules(place, rules).lines() {
        if wanted == Some(line) {
            wanted = expected.next();
        } else {
            assert!(is_element(line), "{line:?} is in the rules, not {wanted:?}");
        }
    }
    assert_eq!(wanted, None, "missing in the rules");
}

/// A line of a set's elements, or one that begins or ends them.
fn is_element(line: &str) -> bool {
    if ["    elements = {", "    }"].contains(&line) {
        return true;
    }
    let parts = line.strip_prefix("      ").and_then(|line| line.strip_suffix(','));
    let parts: Vec<&str> = parts.unwrap_or_default().split(" . ").collect();
    let address = |text: &str| text.parse::<Ipv4Addr>().is_ok();
    match parts[..] {
        [one] => match one.split_once('/') {
            Some((network, prefix)) => {
                address(network)
                    && prefix.parse().is_ok_and(|prefix: u8| (1..=32).contains(&prefix))
            }
            None => address(one),
        },
        [guest, port] => address(guest) && port.parse().is_ok_and(|port: u16| port != 0),
        [tap, mac, guest] => {
            let name = tap.strip_prefix('"').and_then(|tap| tap.strip_suffix('"'));
            let vm = name.and_then(|name| name.strip_prefix(TAP_PREFIX));
            vm.is_some_and(|vm| vm.parse::<VmId>().is_ok())
                && mac.parse::<MacAddress>().is_ok()
                && address(guest)
        }
        _ => false,
    }
}

/// A packet that is nearly a request: bytes choose what is in it.
pub(crate) fn scripted(script: &[u8]) -> bool {
    let mut script = Script(script.iter());
    let request = script.request();
    packet(request.to_string().as_bytes())
}

struct Script<'a>(std::slice::Iter<'a, u8>);

impl Script<'_> {
    fn byte(&mut self) -> usize {
        usize::from(self.0.next().copied().unwrap_or_default())
    }

    fn one_of(&mut self, values: &[Value]) -> Value {
        values[self.byte() % values.len()].clone()
    }

    fn request(&mut self) -> Value {
        let operations = [
            "apply_rules",
            "observe",
            "ensure_bridge",
            "remove_bridge",
            "ensure_tap",
            "remove_tap",
            "revert_rules",
            "listen_dns",
            "listen_tcp",
            "route_names",
            "unroute_names",
            "enter_scope",
            "",
            "apply_rules\n",
        ];
        let mut request = Map::new();
        request.insert("operation".to_owned(), self.one_of(&operations.map(Value::from)));
        let fields = self.byte();
        if fields & 1 == 0 {
            request.insert("subnet".to_owned(), self.subnet());
        }
        if fields & 2 == 0 {
            let count = self.byte() % 4;
            request
                .insert("host_addresses".to_owned(), (0..count).map(|_| self.network()).collect());
        }
        if fields & 4 == 0 {
            let count = self.byte() % 4;
            request.insert("guests".to_owned(), (0..count).map(|_| self.guest()).collect());
        }
        if fields & 8 != 0 {
            request.insert("vm".to_owned(), self.vm());
        }
        if fields & 16 != 0 {
            request.insert("port".to_owned(), self.port());
        }
        Value::Object(request)
    }

    fn subnet(&mut self) -> Value {
        let texts = [
            "172.30.0.0/24",
            "10.0.0.0/22",
            "192.168.1.8/29",
            "172.30.0.0/30",
            "0.0.0.0/0",
            "172.30.0.0/24 accept",
            "172.30.0.0/024",
            "172.30.0.0/24\n}",
        ];
        self.one_of(&texts.map(Value::from))
    }

    fn address(&mut self) -> Value {
        let last = self.byte();
        let texts = [
            json!(format!("172.30.0.{last}")),
            json!(format!("10.0.{}.{last}", last % 4)),
            json!(format!("192.168.1.{}", last % 16)),
            json!("0.0.0.0"),
            json!("::1"),
            json!("172.30.0.2, 0.0.0.0/0"),
            json!(last),
        ];
        self.one_of(&texts)
    }

    fn network(&mut self) -> Value {
        json!({"address": self.address(), "prefix": self.byte() % 40})
    }

    fn vm(&mut self) -> Value {
        let byte = self.byte();
        let texts = [
            json!(format!("0000000000{byte:02x}")),
            json!(format!("0A00000000{byte:02x}")),
            json!("\" . x }; flush ruleset"),
            json!("bt-000000000"),
        ];
        // Mostly such that the rest is looked at.
        texts[self.byte().saturating_sub(252) % texts.len()].clone()
    }

    fn port(&mut self) -> Value {
        let port = self.byte() * 256 + self.byte();
        if port > 65_000 { json!(port * 2) } else { json!(port) }
    }

    fn guest(&mut self) -> Value {
        let count = self.byte() % 4;
        let ports: Vec<Value> = (0..count).map(|_| self.port()).collect();
        json!({"vm": self.vm(), "address": self.address(), "nat": self.byte() & 1 == 0, "host_ports": ports})
    }
}
