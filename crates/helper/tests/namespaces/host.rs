//! The helper of the system: in a network that stands for the host's, and holds more than banger's.

use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use banger_proto::helper::{GuestRules, MAX_PACKET, Request, Rules, scope_name, tap_name};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use serde_json::json;

use crate::rig::{HELPER, Helper, Namespaces, Process, World, closed, rules, sockets, subnet, vm};

/// The user that the tests are, as seen in their namespaces.
pub(crate) const ME: u32 = 0;

/// What of a host is played: its programs beside `nft`, each noting its arguments, and the group of
/// processes that this one is in.
pub(crate) struct Host(tempfile::TempDir);

impl Host {
    pub(crate) fn new() -> Self {
        let host = Self(tempfile::tempdir().expect("a directory"));
        let at = host.0.path().display();
        host.sh(&format!("mkdir {at}/sbin && cp /usr/sbin/nft {at}/sbin/nft && : > {at}/calls"));
        host.sh(&format!("echo 0::/system.slice/bangerd.service > {at}/group"));
        // What fails once, is there in a file that is taken away.
        let note = format!(
            "echo \"${{0##*/}} $*\" >> {at}/calls\n\
             rm {at}/fail 2>&- && {{ echo no, today not >&2; exit 1; }}\n"
        );
        host.program("resolvectl", &format!("{note}exit 0"));
        host.program("systemctl", &format!("{note}exit 0"));
        host.program("busctl", &format!("{note}echo 0::/banger.slice/$7 > {at}/group"));
        host
    }

    /// By a shell: a file that is open for writing here would be so in a child that another test forks, and
    /// could not be started.
    fn sh(&self, script: &str) {
        assert!(
            Command::new("sh").args(["-c", script]).status().expect("sh").success(),
            "{script}"
        );
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.path("sbin").join(name);
        let write = r#"printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod 755 "$1""#;
        let mut shell = Command::new("sh");
        let written = shell.args(["-c", write, "sh"]).arg(path).arg(script).status();
        assert!(written.expect("sh").success());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What the programs were called with since this was asked last.
    fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("calls")).expect("a file");
        std::fs::write(self.path("calls"), "").expect("a file");
        text.lines().map(str::to_owned).collect()
    }

    fn fail_once(&self) {
        std::fs::write(self.path("fail"), "").expect("a file");
    }

    /// The helper, as the service manager starts it for user `owner`.
    pub(crate) fn command(&self, namespaces: &Namespaces, owner: u32) -> Command {
        let mount = r#"mount --bind "$1/sbin" /usr/sbin &&
            mount --bind "$1/group" "/proc/$2/cgroup" &&
            mount -t tmpfs none /sys/fs/cgroup && : > /sys/fs/cgroup/cgroup.controllers &&
            exec "$3" serve --host --owner "$4""#;
        let mut command = namespaces.command(&["unshare", "-m", "sh", "-c", mount, "sh"]);
        command.arg(self.0.path()).arg(std::process::id().to_string());
        command.arg(HELPER).arg(owner.to_string());
        command
    }

    pub(crate) fn serve(&self, namespaces: &Namespaces) -> Helper {
        let (ours, theirs) = sockets();
        let child = self.command(namespaces, ME).stdin(theirs).spawn().expect("helper");
        Helper { process: Process(child), socket: ours }
    }
}

/// A network with a card that is nothing of banger's.
pub(crate) fn network() -> Namespaces {
    let namespaces = Namespaces::new();
    namespaces.do_inside("ip link set lo up");
    namespaces.do_inside("ip link add card type veth peer name cable");
    // A new network has what the host has.
    for setting in ["ipv4/ip_forward", "ipv6/conf/all/disable_ipv6"] {
        set(&namespaces, setting, "0");
    }
    set(&namespaces, "ipv6/conf/default/disable_ipv6", "0");
    set(&namespaces, "ipv4/conf/all/send_redirects", "1");
    namespaces
}

fn set(namespaces: &Namespaces, file: &str, value: &str) {
    let script = format!("echo {value} > /proc/sys/net/{file}");
    assert!(namespaces.command(&["sh", "-c", &script]).status().expect("sh").success(), "{script}");
}

fn setting(namespaces: &Namespaces, file: &str) -> String {
    let read = namespaces.do_inside(&format!("cat /proc/sys/net/{file}"));
    String::from_utf8_lossy(&read.stdout).trim().to_owned()
}

pub(crate) fn open(number: u8) -> GuestRules {
    GuestRules { nat: true, ..closed(number) }
}

#[test]
fn what_is_the_hosts_stays_as_it_is() {
    let (host, namespaces) = (Host::new(), network());
    namespaces.do_inside("nft add table ip filter");
    let chain =
        "nft add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }";
    namespaces.do_inside(chain);
    let everything = || {
        let rules = namespaces.do_inside("nft -s list ruleset").stdout;
        let routes = namespaces.see("ip -j route show table all");
        (namespaces.see("ip -j -d address"), routes, String::from_utf8(rules).unwrap())
    };
    let before = everything();
    let helper = host.serve(&namespaces);
    helper.done(&Request::EnsureBridge { subnet: subnet() });
    helper.done(&Request::EnsureBridge { subnet: subnet() });
    helper.done(&Request::EnsureTap { vm: vm(1) });
    helper.done(&rules(&[closed(1)]));
    for (file, value) in [
        ("ipv4/ip_forward", "0"),
        ("ipv4/conf/card/forwarding", "0"),
        ("ipv4/conf/br-fc/forwarding", "1"),
        ("ipv4/conf/all/send_redirects", "1"),
        ("ipv6/conf/all/disable_ipv6", "0"),
        ("ipv6/conf/default/disable_ipv6", "0"),
        ("ipv6/conf/card/disable_ipv6", "0"),
        ("ipv6/conf/br-fc/disable_ipv6", "1"),
    ] {
        assert_eq!(setting(&namespaces, file), value, "{file}");
    }
    assert_eq!(namespaces.see("ip -j -6 address show dev br-fc"), json!([]));
    assert_eq!(namespaces.see("ip -j route show default"), json!([]));
    let tap = namespaces.see(&format!("ip -j -d link show dev {}", tap_name(&vm(1))));
    assert_eq!(tap[0]["linkinfo"]["info_data"]["user"], "root");
    assert_eq!(tap[0]["mtu"], 1500);
    // Answers come in by another interface, once somebody may ask.
    helper.done(&rules(&[open(1)]));
    assert_eq!(setting(&namespaces, "ipv4/ip_forward"), "1");
    let observed = helper.observe();
    assert_eq!(observed.taps, [vm(1)]);
    assert_eq!(observed.dropping, ["ip filter FORWARD"]);
    // A table that knows the bridge has been told what to do.
    namespaces.do_inside("nft add rule ip filter FORWARD iifname \"br-fc\" accept");
    assert_eq!(helper.observe().dropping, Vec::<String>::new());
    namespaces.do_inside("nft flush chain ip filter FORWARD");

    helper.done(&Request::RemoveTap { vm: vm(1) });
    helper.done(&Request::RemoveBridge {});
    helper.done(&Request::RevertRules {});
    assert_eq!(everything(), before);
    assert_eq!(host.calls(), Vec::<String>::new());
}

#[test]
fn a_bridge_of_somebody_else_is_not_taken() {
    let (host, namespaces) = (Host::new(), network());
    let helper = host.serve(&namespaces);
    namespaces.do_inside("ip link add br-fc type bridge");
    namespaces.do_inside("ip address add 172.30.0.1/24 dev br-fc");
    let before = namespaces.see("ip -j -d address");
    for request in [
        Request::EnsureBridge { subnet: subnet() },
        Request::EnsureTap { vm: vm(1) },
        Request::ListenDns { subnet: subnet() },
        Request::RouteNames { port: 42069 },
        Request::RemoveBridge {},
    ] {
        assert_eq!(
            helper.fails(&request),
            "interface `br-fc` is foreign: it is a bridge, not a bridge that banger has made"
        );
    }
    assert_eq!(helper.observe().bridge, None);
    assert_eq!(namespaces.see("ip -j -d address"), before);
    assert_eq!(setting(&namespaces, "ipv6/conf/br-fc/disable_ipv6"), "0");
    assert_eq!(host.calls(), Vec::<String>::new());
}

#[test]
fn a_network_of_the_hosts_is_not_taken() {
    let (host, namespaces) = (Host::new(), network());
    let helper = host.serve(&namespaces);
    namespaces.do_inside("ip address add 192.168.1.5/24 dev card");
    namespaces.do_inside("ip address add 10.8.0.9 peer 172.31.1.1/32 dev cable");
    namespaces.do_inside("ip link set cable up");
    namespaces.do_inside("ip link set card up");
    namespaces.do_inside("ip route add default via 10.128.0.1 dev card onlink");
    let everything = || {
        let rules = namespaces.do_inside("nft -s list ruleset").stdout;
        (namespaces.see("ip -j address"), String::from_utf8(rules).unwrap())
    };
    let ensure = |subnet: &str| Request::EnsureBridge { subnet: subnet.parse().unwrap() };
    let rules_of = |subnet: &str| {
        let (subnet, guests) = (subnet.parse().unwrap(), Vec::new());
        Request::ApplyRules(Rules { subnet, host_addresses: Vec::new(), guests })
    };
    let before = everything();
    for (subnet, network, interface) in [
        // The LAN itself, a part of it, and more than it; the ends of a line.
        ("192.168.1.0/24", "192.168.1.0/24", "card"),
        ("192.168.1.64/29", "192.168.1.0/24", "card"),
        ("192.168.0.0/23", "192.168.1.0/24", "card"),
        ("10.8.0.0/24", "10.8.0.9/32", "cable"),
        ("172.31.1.0/24", "172.31.1.1/32", "cable"),
        // Clouds have the next router in no network of the host.
        ("10.128.0.0/24", "10.128.0.1/32", "card"),
    ] {
        let expected = format!(
            "network `{subnet}` cannot be that of VMs: this host has {network} at interface \
             `{interface}`; configure one that is free, for example subnet = \"10.77.0.0/24\""
        );
        assert_eq!(helper.fails(&ensure(subnet)), expected);
        assert_eq!(helper.fails(&rules_of(subnet)), expected);
    }
    assert_eq!(everything(), before);

    // One that VMs have already is theirs, whatever came after it; and no other one instead.
    helper.done(&ensure("172.30.0.0/24"));
    namespaces.do_inside("ip address add 172.30.0.77/24 dev card");
    helper.done(&ensure("172.30.0.0/24"));
    helper.done(&rules(&[closed(1)]));
    let before = everything();
    assert!(helper.fails(&ensure("192.168.1.0/24")).contains("`card`"));
    for subnet in ["10.9.0.0/24", "192.168.1.0/24", "172.30.0.0/25"] {
        let said = helper.fails(&rules_of(subnet));
        assert!(said.starts_with("bridge `br-fc` does not have the address "), "{said}");
    }
    assert_eq!(everything(), before);
    // What is not theirs any more is refused again; guests that end are followed by rules all the same.
    helper.done(&Request::RemoveBridge {});
    assert!(helper.fails(&ensure("172.30.0.0/24")).contains("`card`"));
    helper.done(&rules_of("10.9.0.0/24"));
}

#[test]
fn who_reaches_whom() {
    const INTERNET: &str = "203.0.113.7";
    const GATEWAY: &str = "172.30.0.1";
    let (host, namespaces) = (Host::new(), network());
    let helper = host.serve(&namespaces);
    let mut world = World::around(namespaces, helper, 2);
    let may = GuestRules { host_ports: vec![7000], ..closed(1) };
    world.helper.done(&rules(&[open(0), may]));
    let (first, second) = (closed(0).address.to_string(), closed(1).address.to_string());
    let mut sockets = world.helper.done(&Request::ListenDns { subnet: subnet() });
    let (_tcp, dns) = (sockets.pop(), UdpSocket::from(sockets.pop().unwrap()));
    dns.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut sockets = world.helper.done(&Request::ListenTcp { subnet: subnet(), port: 7000 });
    let listener = TcpListener::from(sockets.pop().unwrap());
    std::thread::spawn(move || {
        let (mut stream, peer) = listener.accept().unwrap();
        stream.write_all(peer.ip().to_string().as_bytes()).unwrap();
    });
    // What listens in the host is no guest's, unless it is open to one.
    let mut neighbour = world.namespaces.vmm();
    neighbour.does(json!(["serve_tcp", 8000]));

    let guest = &mut world.guests[0];
    assert_eq!(guest.does(json!(["tcp", INTERNET, 80])), "10.255.77.2");
    for target in ["198.51.100.2", "169.254.169.254", GATEWAY, "10.255.77.2", "172.30.0.77"] {
        assert_eq!(guest.fails(json!(["tcp", target, 8000])), "ECONNREFUSED", "{target}");
    }
    assert_eq!(guest.fails(json!(["tcp", GATEWAY, 7000])), "ECONNREFUSED");
    assert_eq!(guest.does(json!(["tcp", second, 9000])), first);
    let guest = &mut world.guests[1];
    assert_eq!(guest.fails(json!(["tcp", INTERNET, 80])), "ECONNREFUSED");
    assert_eq!(guest.does(json!(["tcp", first, 9000])), second);
    assert_eq!(guest.does(json!(["tcp", GATEWAY, 7000])), second);
    // The owner's processes reach guests; those beside the host reach neither guests nor the gateway.
    assert_eq!(neighbour.does(json!(["tcp", first, 9000])), GATEWAY);
    world.internet.sh("ip route add 172.30.0.0/24 via 10.255.77.2");
    world.internet.does(json!(["tell", first, 9001, "from beyond"]));
    world.internet.does(json!(["tell", GATEWAY, 53, "from beyond"]));
    world.guests[1].does(json!(["tell", first, 9001, "end"]));
    world.guests[1].does(json!(["tell", GATEWAY, 53, "end"]));
    assert_eq!(world.guests[0].does(json!(["hear", "end"])), json!([["end", second]]));
    let mut heard = [0; 16];
    let (length, from) = dns.recv_from(&mut heard).unwrap();
    assert_eq!((&heard[..length], from.ip().to_string()), (&b"end"[..], second));
}

#[test]
fn guests_answer_root_and_their_owner_only() {
    let (host, namespaces) = (Host::new(), network());
    let helper = host.serve(&namespaces);
    let mut world = World::around(namespaces, helper, 1);
    world.helper.done(&rules(&[closed(0)]));
    let chain = world.namespaces.see("nft -j list chain inet banger output");
    let text = chain.to_string();
    assert!(text.contains(r#""skuid""#) && text.contains(r#""policy":"accept""#), "{text}");
    let address = closed(0).address.to_string();
    let mut owner = world.namespaces.vmm();
    assert_eq!(owner.does(json!(["tcp", address, 9000])), "172.30.0.1");
    // Only root can be somebody else, in a network that is its own.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut other = world.namespaces.stranger(1234);
    assert_eq!(other.fails(json!(["tcp", address, 9000])), "ECONNREFUSED");
    let error = other.fails(json!(["udp", address, 9001, "from a stranger"]));
    assert!(["EHOSTUNREACH", "EPERM", "EACCES"].contains(&error.as_str()), "{error}");
    owner.does(json!(["tell", address, 9001, "end"]));
    let heard = world.guests[0].does(json!(["hear", "end"]));
    assert_eq!(heard, json!([["end", "172.30.0.1"]]));
}

#[test]
fn names_are_routed_and_forgotten() {
    let (host, namespaces) = (Host::new(), network());
    let helper = host.serve(&namespaces);
    let route = Request::RouteNames { port: 42069 };
    assert_eq!(helper.fails(&route), "bridge `br-fc` is missing");
    helper.done(&Request::UnrouteNames {});
    assert_eq!(host.calls(), Vec::<String>::new(), "there is nothing to forget");
    helper.done(&Request::EnsureBridge { subnet: subnet() });
    for _ in 0..2 {
        helper.done(&route);
        assert_eq!(
            host.calls(),
            [
                "resolvectl domain br-fc ~vm",
                "resolvectl default-route br-fc false",
                "resolvectl dns br-fc 127.0.0.1:42069",
            ]
        );
    }
    host.fail_once();
    let said = helper.fails(&route);
    assert!(said.starts_with("cannot tell the host's resolver") && said.ends_with("no, today not"));
    assert_eq!(host.calls().len(), 1);
    helper.done(&Request::UnrouteNames {});
    assert_eq!(host.calls(), ["resolvectl revert br-fc"]);
    std::fs::remove_file(host.path("sbin/resolvectl")).unwrap();
    if !Path::new("/usr/bin/resolvectl").exists() {
        let said = helper.fails(&route);
        assert!(said.contains("`resolvectl` is missing") && said.contains("systemd-resolved"));
    }
}

#[test]
fn a_process_is_moved_into_its_vms_scope() {
    let (host, namespaces) = (Host::new(), network());
    let helper = host.serve(&namespaces);
    let scope = scope_name(&vm(1));
    let entering = Request::EnterScope { vm: vm(1), memory: Some(1 << 30) };
    helper.done(&entering);
    let me = std::process::id();
    let nothing = ["0"; 16].join(" ");
    let call = format!(
        "busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 \
         org.freedesktop.systemd1.Manager StartTransientUnit ssa(sv)a(sa(sv)) {scope} fail 8 \
         PIDs au 1 {me} Description s VM {} of banger Slice s banger.slice \
         Before as 1 bangerd.service CollectMode s inactive-or-failed \
         TasksMax t 1024 MemoryMax t 1073741824 \
         IPAddressDeny a(iayu) 2 2 4 0 0 0 0 0 10 16 {nothing} 0 0",
        vm(1)
    );
    let wait = format!("systemctl start {scope}");
    assert_eq!(host.calls(), [call.clone(), wait.clone()]);
    // It is there already.
    helper.done(&entering);
    assert_eq!(host.calls(), Vec::<String>::new());

    // The scope of an earlier run is there, with nobody in it.
    std::fs::write(host.path("group"), "0::/system.slice/bangerd.service\n").unwrap();
    host.fail_once();
    helper.done(&entering);
    let stop = format!("systemctl stop {scope}");
    assert_eq!(host.calls(), [call.clone(), stop, call, wait]);

    // A manager that says so and does not do it.
    std::fs::write(host.path("group"), "0::/system.slice/bangerd.service\n").unwrap();
    host.program("busctl", "exit 0");
    let said = helper.fails(&entering);
    assert!(said.starts_with(&format!("process {me} is not in the scope `{scope}`")), "{said}");
    host.program("busctl", "echo no manager >&2; exit 1");
    let said = helper.fails(&entering);
    assert!(said.contains(&scope) && said.ends_with("no manager"), "{said}");
}

#[test]
fn a_network_of_the_users_own_has_neither() {
    let namespaces = Namespaces::new();
    let helper = namespaces.serve();
    helper.done(&Request::EnsureBridge { subnet: subnet() });
    for (request, what) in [
        (Request::RouteNames { port: 42069 }, "resolver"),
        (Request::UnrouteNames {}, "resolver"),
        (Request::EnterScope { vm: vm(1), memory: None }, "scopes"),
    ] {
        assert_eq!(helper.fails(&request), format!("a network of the user's own has no {what}"));
    }
}

#[test]
fn nobody_but_the_owner_is_served() {
    let (host, namespaces) = (Host::new(), network());
    let before = namespaces.see("ip -j -d address");
    let (ours, theirs) = sockets();
    // It is there before anybody looks who has sent it.
    let request = serde_json::to_vec(&Request::EnsureBridge { subnet: subnet() }).unwrap();
    send(&ours, &request, SendFlags::NOSIGNAL).unwrap();
    let output =
        host.command(&namespaces, 1).stdin(theirs).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    let expected =
        "banger-helper: user 0 has connected, and only user 1 may ask: nothing was done\n";
    assert_eq!(said, expected);
    let mut reply = vec![0; MAX_PACKET];
    let answered = recv(&ours, reply.as_mut_slice(), RecvFlags::empty());
    assert!(!matches!(answered, Ok((length, _)) if length > 0), "no reply");
    assert_eq!(namespaces.see("ip -j -d address"), before);
}

#[test]
fn it_has_what_operations_take() {
    let (host, namespaces) = (Host::new(), network());
    let helper = host.serve(&namespaces);
    helper.observe();
    let text = std::fs::read_to_string(format!("/proc/{}/status", helper.process.0.id())).unwrap();
    for line in
        ["CapPrm:\t0000000000001400", "CapEff:\t0000000000001400", "CapBnd:\t0000000000001400"]
    {
        assert!(text.lines().any(|there| there == line), "{line} in {text}");
    }
    assert!(text.contains("NoNewPrivs:\t1"));
    // What is no socket of packets is told, and served by nobody.
    let output = host.command(&namespaces, ME).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "banger-helper: standard input is not a connected unix socket of packets\n");
}
