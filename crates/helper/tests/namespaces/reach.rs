//! Who reaches whom: packets that are really sent, between guests, the gateway and an internet.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use banger_proto::helper::{GuestRules, Request, tap_name};
use serde_json::{Value, json};

use crate::host::{Host, network};
use crate::rig::{World, closed, gateway_mac, rules, subnet, vm};

const INTERNET: &str = "203.0.113.7";
const HOST: &str = "198.51.100.2";
const METADATA: &str = "169.254.169.254";
const GATEWAY: &str = "172.30.0.1";
const UPLINK: &str = "10.255.77.2";

fn open(number: u8) -> GuestRules {
    GuestRules { nat: true, ..closed(number) }
}

fn address(number: u8) -> String {
    closed(number).address.to_string()
}

/// In a network of the user's own, and in the host's.
fn in_both(guests: u8, test: impl Fn(World)) {
    test(World::new(guests));
    let (host, namespaces) = (Host::new(), network());
    let helper = host.serve(&namespaces);
    test(World::around(namespaces, helper, guests));
}

#[test]
fn a_closed_guest_reaches_nothing() {
    let mut world = World::new(1);
    world.helper.done(&rules(&[closed(0)]));
    let guest = &mut world.guests[0];
    for target in [INTERNET, HOST, METADATA, GATEWAY, UPLINK, "10.255.77.1", "172.30.0.77"] {
        assert_eq!(guest.fails(json!(["tcp", target, 80])), "ECONNREFUSED", "{target}");
    }
    for target in [INTERNET, HOST, GATEWAY] {
        assert_eq!(guest.fails(json!(["udp", target, 81, "x"])), "EHOSTUNREACH", "{target}");
    }
    // But it can see that there is a gateway.
    assert_eq!(guest.does(json!(["ping", GATEWAY])), GATEWAY);
    // Without an uplink nobody waits either, closed or not.
    world.namespaces.do_inside("ip link delete up0");
    for rules in [rules(&[closed(0)]), rules(&[open(0)])] {
        world.helper.done(&rules);
        assert_eq!(guest.fails(json!(["tcp", INTERNET, 80])), "ECONNREFUSED");
    }
}

#[test]
fn an_open_guest_reaches_the_internet_and_not_the_host() {
    let mut world = World::new(2);
    world.helper.done(&rules(&[open(0), closed(1)]));
    let guest = &mut world.guests[0];
    assert_eq!(guest.does(json!(["tcp", INTERNET, 80])), UPLINK, "it is seen as the uplink");
    for target in [HOST, METADATA, GATEWAY, UPLINK, "172.30.0.77"] {
        assert_eq!(guest.fails(json!(["tcp", target, 80])), "ECONNREFUSED", "{target}");
    }
    assert_eq!(
        guest.fails(json!(["tcp", INTERNET, 1])),
        "ECONNREFUSED",
        "the internet's own refusal"
    );
    assert_eq!(world.guests[1].fails(json!(["tcp", INTERNET, 80])), "ECONNREFUSED");
    // Nothing comes in that was not asked for.
    world.internet.sh("ip route add 172.30.0.0/24 via 10.255.77.2");
    world.internet.does(json!(["tell", address(0), 9001, "unasked"]));
    assert_eq!(world.guests[1].does(json!(["tcp", address(0), 9000])), address(1));
    world.guests[1].does(json!(["tell", address(0), 9001, "end"]));
    assert_eq!(world.guests[0].does(json!(["hear", "end"])), json!([["end", address(1)]]));
}

#[test]
fn guests_reach_each_other() {
    in_both(2, |mut world| {
        world.helper.done(&rules(&[closed(0), open(1)]));
        for (from, to) in [(0, 1), (1, 0)] {
            let answer = world.guests[from].does(json!(["tcp", address(to as u8), 9000]));
            assert_eq!(answer, address(from as u8), "as who it is");
            world.guests[from].does(json!(["tell", address(to as u8), 9001, "hello"]));
            let heard = world.guests[to].does(json!(["hear", "hello"]));
            assert_eq!(heard, json!([["hello", address(from as u8)]]));
            assert_eq!(
                world.guests[from].does(json!(["ping", address(to as u8)])),
                address(to as u8)
            );
            assert_eq!(
                world.guests[from].fails(json!(["tcp", address(to as u8), 1])),
                "ECONNREFUSED"
            );
        }
    });
}

#[test]
fn ports_of_the_host_are_for_whom_they_are_open() {
    in_both(2, |mut world| {
        let may = GuestRules { host_ports: vec![7000], ..closed(0) };
        world.helper.done(&rules(&[may, closed(1)]));
        let listen = |port| {
            let mut sockets = world.helper.done(&Request::ListenTcp { subnet: subnet(), port });
            TcpListener::from(sockets.pop().unwrap())
        };
        let (listener, _other) = (listen(7000), listen(7001));
        let greeter = std::thread::spawn(move || {
            let (mut stream, peer) = listener.accept().unwrap();
            stream.write_all(peer.ip().to_string().as_bytes()).unwrap();
            // Until the guest ends it, or is made to.
            let _ = stream.read(&mut [0]);
            listener
        });
        assert_eq!(world.guests[0].does(json!(["tcp", GATEWAY, 7000, "kept"])), address(0));
        assert_eq!(world.guests[0].fails(json!(["tcp", GATEWAY, 7001])), "ECONNREFUSED");
        assert_eq!(world.guests[1].fails(json!(["tcp", GATEWAY, 7000])), "ECONNREFUSED");
        // Taking it away ends what is going on.
        world.helper.done(&rules(&[closed(0), closed(1)]));
        let ended = world.guests[0].fails(json!(["say", "kept", "more"]));
        assert_eq!(ended, "ECONNRESET");
        // Nobody tells the host's side; the process that is there goes with the test.
        drop(greeter);
    });
}

#[test]
fn the_name_server_hears_every_guest() {
    in_both(2, |mut world| {
        world.helper.done(&rules(&[closed(0), closed(1)]));
        let mut sockets = world.helper.done(&Request::ListenDns { subnet: subnet() });
        let tcp = TcpListener::from(sockets.pop().unwrap());
        let udp = UdpSocket::from(sockets.pop().unwrap());
        udp.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..2 {
                    let mut question = [0; 16];
                    let (length, peer) = udp.recv_from(&mut question).unwrap();
                    assert_eq!(&question[..length], b"who");
                    udp.send_to(peer.ip().to_string().as_bytes(), peer).unwrap();
                }
                for _ in 0..2 {
                    let (mut stream, peer) = tcp.accept().unwrap();
                    stream.write_all(peer.ip().to_string().as_bytes()).unwrap();
                }
            });
            for number in [0, 1] {
                let guest = &mut world.guests[usize::from(number)];
                assert_eq!(guest.does(json!(["udp", GATEWAY, 53, "who"])), address(number));
            }
            for number in [0, 1] {
                let guest = &mut world.guests[usize::from(number)];
                assert_eq!(guest.does(json!(["tcp", GATEWAY, 53])), address(number));
            }
        });
    });
}

#[test]
fn who_pretends_to_be_another_is_not_heard() {
    in_both(3, |mut world| {
        world.helper.done(&rules(&[closed(0), open(1), closed(2)]));
        let (me, victim) = (closed(0), closed(1));
        let (gateway, third) = (gateway_mac(), address(2));
        let card = |mac, source: &str, text: &str| {
            json!(["spoof_datagram", gateway, mac, source, third, 9001, text])
        };
        // The gateway knows both, and would believe news of them at once.
        world.guests[0].does(json!(["ping", GATEWAY]));
        world.guests[1].does(json!(["ping", GATEWAY]));
        let believe = "echo 0 > /proc/sys/net/ipv4/neigh/br-fc/locktime";
        assert!(world.namespaces.command(&["sh", "-c", believe]).status().unwrap().success());
        let liar = &mut world.guests[0];
        liar.does(card(me.mac(), &victim.address.to_string(), "address"));
        liar.does(card(victim.mac(), &me.address.to_string(), "card"));
        liar.does(card(victim.mac(), &victim.address.to_string(), "both"));
        liar.does(card(me.mac(), "172.30.0.200", "nobody"));
        liar.does(card(me.mac(), INTERNET, "stranger"));
        // Of ARP both senders count: neighbours believe the one, the bridge the other.
        let everybody = "ff:ff:ff:ff:ff:ff";
        for (frame, sender, address) in [
            (me.mac(), me.mac(), victim.address),
            (me.mac(), victim.mac(), me.address),
            (victim.mac(), me.mac(), me.address),
            (victim.mac(), victim.mac(), victim.address),
        ] {
            liar.does(json!(["spoof_arp", everybody, frame, 2, sender, address, GATEWAY]));
        }
        liar.does(card(me.mac(), &me.address.to_string(), "true"));
        let heard = world.guests[2].does(json!(["hear", "true"]));
        assert_eq!(heard, json!([["true", address(0)]]));

        let namespaces = &world.namespaces;
        let entries = namespaces.see("bridge -j fdb show br br-fc");
        let learnt = |mac: &Value| -> Vec<String> {
            let of = entries.as_array().unwrap().iter().filter(|entry| entry["mac"] == *mac);
            of.filter(|entry| entry["state"] != "permanent")
                .map(|entry| entry["ifname"].as_str().unwrap().to_owned())
                .collect()
        };
        assert!(!learnt(&json!(victim.mac())).contains(&tap_name(&vm(0))), "{entries}");
        assert!(learnt(&json!(me.mac())).contains(&tap_name(&vm(0))), "{entries}");
        let neighbours = namespaces.see("ip -j neighbour show dev br-fc");
        for neighbour in neighbours.as_array().unwrap() {
            let is = |rules: &GuestRules| neighbour["dst"] == json!(rules.address);
            assert!(!is(&victim) || neighbour["lladdr"] != json!(me.mac()), "{neighbours}");
            assert!(!is(&me) || neighbour["lladdr"] == json!(me.mac()), "{neighbours}");
        }
    });
}

#[test]
fn what_is_taken_away_ends_what_is_going_on() {
    in_both(1, |mut world| {
        world.helper.done(&rules(&[open(0)]));
        let guest = &mut world.guests[0];
        guest.does(json!(["tcp", INTERNET, 80, "stream"]));
        assert_eq!(guest.does(json!(["say", "stream", "one"])), "one");
        // Rules that are loaded anew disturb nobody.
        world.helper.done(&rules(&[open(0)]));
        assert_eq!(guest.does(json!(["say", "stream", "two"])), "two");
        // Datagrams in the other direction, which the guest says nothing to.
        guest.does(json!(["tell_kept", INTERNET, 81, "ask", "datagrams"]));
        world.internet.does(json!(["hear", "ask"]));
        world.internet.does(json!(["answer_udp", "before"]));
        assert_eq!(guest.does(json!(["listen_udp", "datagrams"])), "before");

        world.helper.done(&rules(&[closed(0)]));
        world.internet.does(json!(["answer_udp", "meanwhile"]));
        assert_eq!(guest.fails(json!(["say", "stream", "three"])), "ECONNRESET");
        world.helper.done(&rules(&[open(0)]));
        world.internet.does(json!(["answer_udp", "after"]));
        assert_eq!(guest.does(json!(["listen_udp", "datagrams"])), "after");
    });
}

#[test]
fn there_is_no_ipv6() {
    in_both(2, |mut world| {
        world.helper.done(&rules(&[open(0), open(1)]));
        let addresses = world.namespaces.see("ip -j -6 address show dev br-fc");
        assert_eq!(addresses, json!([]));
        world.guests[1].does(json!(["serve_udp", 9001, "::"]));
        // The guest's own kernel has it, and sends.
        world.guests[0].sh("ip -6 address add fd00::1/64 dev eth0 nodad");
        world.guests[1].sh("ip -6 address add fd00::2/64 dev eth0 nodad");
        let mac = closed(1).mac();
        world.guests[0].sh(&format!("ip -6 neighbour add fd00::2 lladdr {mac} dev eth0"));
        world.guests[0].does(json!(["tell", "fd00::2", 9001, "direct"]));
        world.guests[0].does(json!(["tell", "ff02::1%eth0", 9001, "all"]));
        world.guests[0]
            .sh(&format!("ip -6 neighbour replace fd00::2 lladdr {} dev eth0", gateway_mac()));
        world.guests[0].does(json!(["tell", "fd00::2", 9001, "gateway"]));
        world.guests[0].does(json!(["tell", address(1), 9001, "end"]));
        assert_eq!(world.guests[1].does(json!(["hear", "end"])), json!([["end", address(0)]]));
    });
}

#[test]
fn a_vmm_has_no_network_itself() {
    let mut world = World::new(1);
    world.helper.done(&rules(&[open(0)]));
    let mut vmm = world.namespaces.vmm();
    for (target, port) in [(INTERNET, 80), (HOST, 80)] {
        let error = vmm.fails(json!(["udp", target, port, "x"]));
        assert_eq!(error, "EPERM", "{target}");
    }
    vmm.fails(json!(["tell", address(0), 9001, "from the VMM"]));
    // A guest is reached by sockets of the helper's only.
    let mut sockets = world.helper.done(&Request::ListenDns { subnet: subnet() });
    let _tcp = sockets.pop();
    let udp = UdpSocket::from(sockets.pop().unwrap());
    udp.send_to(b"marked", (closed(0).address, 9001)).unwrap();
    assert_eq!(world.guests[0].does(json!(["hear", "marked"])), json!([["marked", GATEWAY]]));
}
