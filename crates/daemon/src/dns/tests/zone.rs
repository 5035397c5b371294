//! What is said to whom.

use std::net::Ipv4Addr;

use hickory_proto::op::Query;
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};

use crate::dns::check::{askers, zone};
use crate::dns::{Answer, Asker, Record, Zone, lookup};

/// The answer in short.
fn said(zone: &Zone, asker: Asker, name: &str, kind: RecordType) -> String {
    let query = Query::query(Name::from_ascii(name).unwrap(), kind);
    match lookup(zone, asker, &query) {
        Answer::Data(RData::A(address)) => address.to_string(),
        Answer::Data(data) => data.record_type().to_string() + " " + &data.to_string(),
        Answer::NoData(zone) => format!("nothing of that type, in {zone}"),
        Answer::NoName(zone) => format!("no such name, in {zone}"),
        Answer::Refused => "refused".to_owned(),
        Answer::Forward => "forward".to_owned(),
    }
}

/// Each line: name, type, what is said to the host, to a guest that may go out, to one that may not.
/// `"` stands for what is on its left.
#[test]
fn the_table() {
    use RecordType::{A, AAAA, ANY, MX, PTR, SOA};
    let no_vm = "no such name, in vm.";
    let no_data = "nothing of that type, in vm.";
    let soa = "SOA vm. nobody.invalid. 1 3600 1200 604800 1";
    let table: &[(&str, RecordType, &str, &str, &str)] = &[
        ("web.vm.", A, "127.77.0.2", "172.30.0.2", "\""),
        ("WeB.Vm.", A, "127.77.0.2", "172.30.0.2", "\""),
        ("db.vm.", A, "127.77.0.3", "172.30.0.3", "\""),
        ("web.vm.", ANY, "127.77.0.2", "172.30.0.2", "\""),
        ("web.vm.", AAAA, no_data, "\"", "\""),
        ("web.vm.", MX, no_data, "\"", "\""),
        ("stopped.vm.", A, no_data, "\"", "\""),
        ("nobody.vm.", A, no_vm, "\"", "\""),
        ("nobody.vm.", AAAA, no_vm, "\"", "\""),
        ("a.web.vm.", A, no_vm, "\"", "\""),
        ("web_.vm.", A, no_vm, "\"", "\""),
        ("vm.", A, no_data, "\"", "\""),
        ("vm.", SOA, soa, "\"", "\""),
        ("host.vm.", A, no_vm, "172.30.0.1", "\""),
        // In reverse: where the host reaches VMs, and the network of guests.
        (
            "2.0.77.127.in-addr.arpa.",
            PTR,
            "PTR web.vm.",
            "no such name, in 127.in-addr.arpa.",
            "\"",
        ),
        (
            "9.0.77.127.in-addr.arpa.",
            PTR,
            "no such name, in 77.127.in-addr.arpa.",
            "no such name, in 127.in-addr.arpa.",
            "\"",
        ),
        (
            "2.0.77.127.in-addr.arpa.",
            A,
            "nothing of that type, in 77.127.in-addr.arpa.",
            "no such name, in 127.in-addr.arpa.",
            "\"",
        ),
        (
            "0.77.127.in-addr.arpa.",
            PTR,
            "nothing of that type, in 77.127.in-addr.arpa.",
            "no such name, in 127.in-addr.arpa.",
            "\"",
        ),
        (
            "77.127.in-addr.arpa.",
            PTR,
            "nothing of that type, in 77.127.in-addr.arpa.",
            "no such name, in 127.in-addr.arpa.",
            "\"",
        ),
        (
            "02.0.77.127.in-addr.arpa.",
            PTR,
            "no such name, in 77.127.in-addr.arpa.",
            "no such name, in 127.in-addr.arpa.",
            "\"",
        ),
        ("1.0.0.127.in-addr.arpa.", PTR, "refused", "no such name, in 127.in-addr.arpa.", "\""),
        ("2.0.30.172.in-addr.arpa.", PTR, "PTR web.vm.", "\"", "\""),
        ("2.0.30.172.IN-ADDR.ARPA.", PTR, "PTR web.vm.", "\"", "\""),
        (
            "1.0.30.172.in-addr.arpa.",
            PTR,
            "no such name, in 0.30.172.in-addr.arpa.",
            "PTR host.vm.",
            "\"",
        ),
        ("77.0.30.172.in-addr.arpa.", PTR, "no such name, in 0.30.172.in-addr.arpa.", "\"", "\""),
        ("2.1.30.172.in-addr.arpa.", PTR, "refused", "forward", "refused"),
        (
            "254.169.254.169.in-addr.arpa.",
            PTR,
            "refused",
            "no such name, in 254.169.in-addr.arpa.",
            "\"",
        ),
        // Everything else.
        ("example.com.", A, "refused", "forward", "refused"),
        ("vm.example.com.", A, "refused", "forward", "refused"),
        ("printer.local.", A, "refused", "forward", "refused"),
        (".", SOA, "refused", "forward", "refused"),
        ("com.", SOA, "refused", "forward", "refused"),
        ("web.", A, "refused", "no such name, in .", "\""),
        ("localhost.", A, "refused", "127.0.0.1", "\""),
        ("a.localhost.", AAAA, "refused", "nothing of that type, in localhost.", "\""),
        ("x.onion.", A, "refused", "no such name, in onion.", "\""),
        ("invalid.", A, "refused", "nothing of that type, in invalid.", "\""),
    ];
    let zone = zone();
    for (name, kind, host, may, may_not) in table {
        let may = if *may == "\"" { host } else { may };
        let may_not = if *may_not == "\"" { may } else { may_not };
        let [asks, out, closed, unknown] = askers();
        for (asker, expected) in [(asks, host), (out, may), (closed, may_not), (unknown, may_not)] {
            assert_eq!(&said(&zone, asker, name, *kind), expected, "{name} {kind} to {asker:?}");
        }
    }
}

#[test]
fn only_the_class_of_the_internet() {
    let mut query = Query::query(Name::from_ascii("web.vm.").unwrap(), RecordType::A);
    query.set_query_class(DNSClass::CH);
    for asker in askers() {
        assert_eq!(lookup(&zone(), asker, &query), Answer::Refused);
    }
}

#[test]
fn without_a_network_there_is_no_gateway() {
    let record = Record {
        name: "web".parse().unwrap(),
        guest: None,
        host: Some(Ipv4Addr::new(127, 77, 0, 2)),
        nat: true,
    };
    let zone = Zone::new(vec![record], None);
    let guest = Asker::Guest(Ipv4Addr::new(172, 30, 0, 2));
    assert_eq!(said(&zone, Asker::Host, "web.vm.", RecordType::A), "127.77.0.2");
    assert_eq!(said(&zone, guest, "host.vm.", RecordType::A), "no such name, in vm.");
    // Nobody has that address, so nobody with it may go out.
    assert_eq!(said(&zone, guest, "example.com.", RecordType::A), "refused");
}
