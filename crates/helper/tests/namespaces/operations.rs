//! What each operation makes and removes, done twice, and what it must not touch.

use banger_proto::helper::{MAX_PACKET, Network, Observed, Reply, Request, tap_name};
use rustix::io::IoSlice;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::json;

use crate::rig::{Namespaces, closed, gateway_mac, rules, subnet, vm};

#[test]
fn everything_twice_and_nothing_is_left() {
    let namespaces = Namespaces::new();
    let helper = namespaces.serve();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let nothing = Observed { version, ..Observed::default() };
    assert_eq!(helper.observe(), nothing);

    let two = |request: Request| {
        helper.done(&request);
        helper.done(&request);
    };
    two(Request::EnsureBridge { subnet: subnet() });
    two(Request::EnsureTap { vm: vm(2) });
    two(Request::EnsureTap { vm: vm(1) });
    two(rules(&[closed(1), closed(2)]));
    let bridge = Some(vec![Network { address: subnet().gateway(), prefix: 24 }]);
    let taps = vec![vm(1), vm(2)];
    let all = Observed { bridge, taps, rules: true, ..nothing.clone() };
    assert_eq!(helper.observe(), all);
    assert_eq!(namespaces.links(), ["br-fc", &tap_name(&vm(1)), &tap_name(&vm(2)), "lo"]);

    two(Request::RemoveTap { vm: vm(1) });
    two(Request::RemoveTap { vm: vm(2) });
    two(Request::RevertRules {});
    two(Request::RemoveBridge {});
    assert_eq!(helper.observe(), nothing);
    assert_eq!(namespaces.links(), ["lo"]);
    let ruleset = namespaces.see("nft -j list ruleset");
    assert_eq!(ruleset["nftables"].as_array().unwrap().len(), 1, "{ruleset}");
}

#[test]
fn the_bridge_is_as_it_must_be() {
    let namespaces = Namespaces::new();
    let helper = namespaces.serve();
    helper.done(&Request::EnsureBridge { subnet: "10.7.0.0/22".parse().unwrap() });
    helper.done(&Request::EnsureBridge { subnet: subnet() });
    let seen = namespaces.see("ip -j -d address show dev br-fc");
    let link = &seen[0];
    assert_eq!(link["address"], json!(gateway_mac()));
    assert_eq!(link["mtu"], 65520);
    assert_eq!(link["linkinfo"]["info_data"]["stp_state"], 0);
    assert_eq!(link["linkinfo"]["info_data"]["forward_delay"], 0);
    assert!(link["flags"].as_array().unwrap().contains(&json!("UP")));
    let addresses = link["addr_info"].as_array().unwrap();
    assert_eq!(addresses.len(), 1, "{seen}");
    assert_eq!(addresses[0]["local"], "172.30.0.1");
    assert_eq!(addresses[0]["prefixlen"], 24);
    for (file, value) in [
        ("ipv4/ip_forward", "1"),
        ("ipv4/conf/br-fc/proxy_arp_pvlan", "1"),
        ("ipv4/conf/br-fc/send_redirects", "0"),
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/neigh/br-fc/proxy_delay", "0"),
        ("ipv6/conf/all/disable_ipv6", "1"),
        ("ipv6/conf/default/disable_ipv6", "1"),
        ("ipv6/conf/br-fc/disable_ipv6", "1"),
    ] {
        let read = namespaces.do_inside(&format!("cat /proc/sys/net/{file}"));
        assert_eq!(String::from_utf8_lossy(&read.stdout).trim(), value, "{file}");
    }
}

#[test]
fn a_tap_is_as_it_must_be() {
    let namespaces = Namespaces::new();
    let helper = namespaces.serve();
    assert_eq!(helper.fails(&Request::EnsureTap { vm: vm(1) }), "bridge `br-fc` is missing");
    assert_eq!(namespaces.links(), ["lo"]);
    helper.done(&Request::EnsureBridge { subnet: subnet() });
    helper.done(&Request::EnsureTap { vm: vm(1) });
    let seen = namespaces.see(&format!("ip -j -d address show dev {}", tap_name(&vm(1))));
    let link = &seen[0];
    assert_eq!(link["master"], "br-fc");
    assert!(link["flags"].as_array().unwrap().contains(&json!("UP")), "{seen}");
    assert_eq!(link["addr_info"], json!([]), "no IPv6 either");
    let tap = &link["linkinfo"]["info_data"];
    assert_eq!(
        (&tap["type"], &tap["vnet_hdr"], &tap["persist"]),
        (&json!("tap"), &json!(true), &json!(true))
    );
    assert_eq!(tap["user"], "root");
    assert_eq!(link["mtu"], 65520);
    assert_eq!(link["linkinfo"]["info_slave_data"]["isolated"], true);

    // Away from the bridge, it comes back.
    namespaces.do_inside(&format!("ip link set {} nomaster down", tap_name(&vm(1))));
    helper.done(&Request::EnsureTap { vm: vm(1) });
    let seen = namespaces.see(&format!("ip -j -d link show dev {}", tap_name(&vm(1))));
    assert_eq!(seen[0]["master"], "br-fc");
    assert_eq!(seen[0]["linkinfo"]["info_slave_data"]["isolated"], true);
    // The bridge goes and comes, its taps stay.
    helper.done(&Request::RemoveBridge {});
    assert_eq!(helper.observe().taps, [vm(1)]);
}

#[test]
fn what_is_foreign_stays_as_it_is() {
    let namespaces = Namespaces::new();
    let helper = namespaces.serve();
    let (tap, other) = (tap_name(&vm(1)), tap_name(&vm(2)));
    namespaces.do_inside("ip link add br-fc type veth peer name other");
    namespaces.do_inside(&format!("ip tuntap add {other} mode tun"));
    let before = namespaces.see("ip -j link");
    for request in [Request::EnsureBridge { subnet: subnet() }, Request::RemoveBridge {}] {
        assert_eq!(
            helper.fails(&request),
            "interface `br-fc` is foreign: it is of kind veth, not a bridge"
        );
    }
    assert_eq!(helper.observe().bridge, None);
    assert_eq!(namespaces.see("ip -j link"), before);

    namespaces.do_inside("ip link delete br-fc");
    helper.done(&Request::EnsureBridge { subnet: subnet() });
    namespaces.do_inside(&format!("ip link add {tap} type veth peer name other"));
    namespaces.do_inside("ip link add bt-nobodys type veth peer name another");
    let before = namespaces.see("ip -j link");
    for vm in [vm(1), vm(2)] {
        let said = helper.fails(&Request::EnsureTap { vm: vm.clone() });
        assert!(said.contains(&tap_name(&vm)) && said.contains("foreign"), "{said}");
    }
    let said = helper.fails(&Request::RemoveTap { vm: vm(1) });
    assert!(said.contains("foreign"), "{said}");
    assert_eq!(namespaces.see("ip -j link"), before);
    assert_eq!(helper.observe().taps, [vm(2)], "a tun, that one can be removed");
}

#[test]
fn hostile_packets_change_nothing() {
    let namespaces = Namespaces::new();
    let helper = namespaces.serve();
    helper.done(&Request::EnsureBridge { subnet: subnet() });
    helper.done(&rules(&[closed(1)]));
    let see = || {
        // Counters count.
        let rules = namespaces.do_inside("nft -s list ruleset").stdout;
        (namespaces.see("ip -j address"), String::from_utf8(rules).unwrap())
    };
    let before = see();
    let injected = json!({
        "operation": "apply_rules", "subnet": "172.30.0.0/24", "host_addresses": [],
        "guests": [{"vm": "0a\" } flush ruleset", "address": "172.30.0.9", "nat": true, "host_ports": []}],
    });
    let twice = serde_json::to_vec(&rules(&[closed(1), closed(1)])).unwrap();
    let large = vec![b' '; MAX_PACKET + 1];
    for packet in [
        &b"\0"[..],
        b"{",
        b"\xff\xff",
        b"null",
        &large,
        &twice,
        injected.to_string().as_bytes(),
        br#"{"operation":"ensure_bridge","subnet":"172.30.0.0/24","bridge":"lo"}"#,
    ] {
        let (reply, descriptors) = helper.send(packet);
        assert!(matches!(reply, Reply::Refused { .. }), "{reply:?}");
        assert!(descriptors.is_empty());
    }
    let long = format!("{{\"operation\":\"{}\"}}", "x".repeat(100_000));
    let (Reply::Refused { reason }, _) = helper.send(long.as_bytes()) else { panic!() };
    assert!(reason.len() < 3000, "{}", reason.len());

    // Descriptors that come along are not kept.
    let open = || {
        let pid = helper.process.0.id();
        std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
    };
    let count = open();
    for _ in 0..3 {
        let descriptors = [rustix::fd::AsFd::as_fd(&helper.socket)];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
        sendmsg(&helper.socket, &[IoSlice::new(b"{}")], &mut ancillary, SendFlags::NOSIGNAL)
            .unwrap();
        assert!(matches!(helper.receive().0, Reply::Refused { .. }));
    }
    assert_eq!(open(), count);
    assert_eq!(see(), before);
}

#[test]
fn a_thousand_guests() {
    let namespaces = Namespaces::new();
    let helper = namespaces.serve();
    let subnet = "172.30.0.0/22".parse::<banger_proto::Subnet>().unwrap();
    let guests = (0..1000u32).map(|number| banger_proto::helper::GuestRules {
        vm: format!("{number:012x}").parse().unwrap(),
        address: subnet.guest(number).unwrap(),
        nat: true,
        host_ports: vec![8080, 5432],
    });
    let guests = guests.collect();
    let rules = banger_proto::helper::Rules { subnet, host_addresses: Vec::new(), guests };
    helper.done(&Request::ApplyRules(rules));
    for (family, set, count) in
        [("bridge", "card", 1000), ("inet", "nat", 1000), ("inet", "host_port", 2000)]
    {
        let seen = namespaces.see(&format!("nft -j list set {family} banger {set}"));
        let set = seen["nftables"].as_array().unwrap().iter().find_map(|part| part.get("set"));
        assert_eq!(set.unwrap()["elem"].as_array().unwrap().len(), count, "{family} {set:?}");
    }
}

#[test]
fn a_port_is_free_again_when_its_socket_is_closed() {
    let namespaces = Namespaces::new();
    let helper = namespaces.serve();
    let (dns, port) = (
        Request::ListenDns { subnet: subnet() },
        Request::ListenTcp { subnet: subnet(), port: 7000 },
    );
    assert_eq!(helper.fails(&port), "bridge `br-fc` is missing");
    helper.done(&Request::EnsureBridge { subnet: "10.0.0.0/24".parse().unwrap() });
    assert_eq!(helper.fails(&dns), "bridge `br-fc` does not have the address 172.30.0.1");
    helper.done(&Request::EnsureBridge { subnet: subnet() });
    for _ in 0..2 {
        let (sockets, socket) = (helper.done(&dns), helper.done(&port));
        assert_eq!((sockets.len(), socket.len()), (2, 1));
        let said = helper.fails(&dns);
        assert!(said.contains("172.30.0.1:53 (udp)"), "{said}");
        assert!(helper.fails(&port).contains("in use"));
    }
}
