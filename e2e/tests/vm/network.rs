//! Guests on their network: what they reach and what they do not, and what is left of it.

use std::process::Command;
use std::time::{Duration, Instant};

use banger_e2e::lan::{HOST, Lan, SERVER};
use banger_e2e::{Home, Ran, is_gone_within, kill_and_wait};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);
/// What the bridge is called, which is another name than where nobody says so.
const BRIDGE: &str = "vms";

/// A home on a host with an internet behind it.
struct Site {
    home: Home,
    lan: Lan,
}

impl Site {
    fn new() -> Self {
        let mut lan = Lan::new();
        lan.serve_internet("from the internet");
        // All of the host's addresses, and its own alone.
        lan.serve_host("0.0.0.0", 8099, "from the host");
        lan.serve_host("127.0.0.1", 8100, "from the host's loopback");
        let home = Home::new();
        home.configure(&format!("bridge_name = \"{BRIDGE}\"\n"));
        Self { home, lan }
    }

    fn run(&self, command: &Command) -> Ran {
        Ran::of(self.lan.on_host(command), b"")
    }

    fn banger(&self, words: &[&str]) -> Ran {
        self.run(&self.home.banger_command(words))
    }

    fn exec(&self, vm: &str, script: &str) -> Ran {
        self.banger(&["vm", "exec", vm, "--", "sh", "-c", script])
    }

    /// What a guest gets from `url`, or nothing.
    fn fetch(&self, vm: &str, url: &str) -> Option<String> {
        let fetched = self.exec(vm, &format!("curl -sS -m 20 {url}"));
        match fetched.code() {
            0 => Some(fetched.stdout),
            // Refused, and not left waiting: curl's own codes for that are 6 and 7.
            code => {
                assert!([6, 7].contains(&code), "{vm} {url}: {code}: {}", fetched.stderr);
                None
            }
        }
    }

    fn show(&self, vm: &str) -> Value {
        self.banger(&["vm", "show", "--json", vm]).expect_code(0).json()
    }

    /// The port, once the host knows that somebody listens there.
    fn await_port(&self, vm: &str, port: u16) -> Value {
        let since = Instant::now();
        loop {
            let told = self.banger(&["vm", "ports", "--json", vm]).expect_code(0).json();
            let ports = told[0]["ports"].as_array().expect("ports");
            if let Some(found) = ports.iter().find(|found| found["port"] == port) {
                return found.clone();
            }
            assert!(since.elapsed() < PATIENCE, "{vm}: {told}");
        }
    }

    /// The processes that keep the network, by what the daemon has noted.
    fn noted(&self) -> (i32, Option<i32>) {
        let text = std::fs::read(self.home.runtime_dir().join("network.json")).expect("notes");
        let notes: Value = serde_json::from_slice(&text).expect("JSON");
        let pid = |value: &Value| i32::try_from(value["pid"].as_i64()?).ok();
        (pid(&notes["holder"]).expect("a holder"), pid(&notes["uplink"]))
    }

    fn expect_bridge(&self) {
        let links = std::fs::read_to_string(format!("/proc/{}/net/dev", self.noted().0));
        let links = links.expect("links");
        assert!(links.lines().any(|line| line.starts_with(&format!("{BRIDGE:>6}:"))), "{links}");
    }
}

#[test]
fn guests_reach_what_they_may_and_nothing_else() {
    let site = Site::new();
    site.banger(&["vm", "create", "--name", "closed"]).expect_code(0);
    let open = ["--name", "open", "--nat", "--host-port", "8100", "-p", "18080:8000"];
    site.banger(&[&["vm", "create"], &open[..]].concat()).expect_code(0);
    let internet = format!("http://{SERVER}/");
    let page = |text: &str| Some(text.to_owned());

    assert_eq!(site.fetch("open", &internet), page("from the internet"));
    assert_eq!(site.fetch("closed", &internet), None);
    for vm in ["closed", "open"] {
        // Neither the host's addresses nor those of clouds' metadata.
        assert_eq!(site.fetch(vm, &format!("http://{HOST}:8099/")), None);
        assert_eq!(site.fetch(vm, "http://host.vm:8099/"), None);
        let metadata = site.exec(vm, "curl -s -m 3 http://169.254.169.254/");
        assert!([7, 28].contains(&metadata.code()), "{}", metadata.code());
        let six = site.exec(vm, "ip -6 addr show dev eth0; ip -6 route show dev eth0");
        assert_eq!(six.expect_code(0).stdout, "");
    }
    site.expect_bridge();
    let card = site.exec("open", "cat /sys/class/net/eth0/mtu");
    assert_eq!(card.expect_code(0).stdout, "65520\n");
    assert_eq!(site.fetch("open", "http://host.vm:8100/"), page("from the host's loopback"));
    assert_eq!(site.fetch("closed", "http://host.vm:8100/"), None);

    guests_know_each_other_by_name(&site);
    the_host_reaches_what_listens(&site);
    the_way_out_opens_and_closes(&site, &internet);
    what_the_host_becomes_is_closed(&site);
    the_network_outlives_who_made_it(&site, &internet);

    // Nothing is left: no process, no file, and so no namespace.
    let (holder, uplink) = site.noted();
    site.banger(&["vm", "delete", "--force", "closed", "open"]).expect_code(0);
    site.banger(&["daemon", "stop"]).expect_code(0);
    for pid in uplink.into_iter().chain([holder]) {
        assert!(is_gone_within(pid, PATIENCE), "process {pid} is left");
    }
    assert_eq!(site.home.processes(), [""; 0]);
    for file in ["network.json", "uplink.log", "uplink.pid"] {
        assert!(!site.home.runtime_dir().join(file).exists(), "{file}");
    }
}

/// A web server at port 8000 of a guest. It listens before it goes to the background.
const SERVE: &str = r#"perl -MIO::Socket::INET -e '
    $s = IO::Socket::INET->new(LocalPort => 8000, Listen => 9) or die;
    fork and exit; close STDIN; close STDOUT; close STDERR;
    while ($c = $s->accept) {
        sysread $c, $_, 999; print $c "HTTP/1.0 200 OK\r\n\r\nfrom a guest\n"; close $c
    }'"#;

fn guests_know_each_other_by_name(site: &Site) {
    site.exec("closed", SERVE).expect_code(0);
    for name in ["closed", "closed.vm"] {
        let fetched = site.fetch("open", &format!("http://{name}:8000/page"));
        assert_eq!(fetched.as_deref(), Some("from a guest\n"), "{name}");
    }
    let address = site.show("closed")["address"].as_str().expect("an address").to_owned();
    let found = site.exec("open", "getent ahostsv4 closed.vm | head -1").expect_code(0).stdout;
    assert!(found.starts_with(&address), "{found}");
    // Who may not go out does not ask for others' names either.
    site.exec("closed", "getent hosts example.com").expect_code(2);
    site.exec("open", "getent hosts nobody.vm").expect_code(2);
}

/// What `url` gives on the host.
const FETCH: &str = "
import sys, urllib.request as r
print(r.urlopen(sys.argv[1], timeout=20).read().decode(), end='')";

/// What listens on the host, a line each.
const LISTENING: &str = "
import ipaddress
for protocol, state in ('tcp', '0A'), ('udp', '07'), ('tcp6', '0A'), ('udp6', '07'):
    for line in list(open('/proc/net/' + protocol))[1:]:
        local, remote, is_in = line.split()[1:4]
        if is_in == state:
            address, port = local.split(':')
            packed = b''.join(bytes.fromhex(address)[i:i + 4][::-1] for i in range(0, len(address) // 2, 4))
            print(f'{ipaddress.ip_address(packed)}:{int(port, 16)}', protocol)";

/// What the daemon's name server says of a name: its code, and the address.
const RESOLVE: &str = "
import socket, sys
labels = b''.join(bytes([len(l)]) + l.encode() for l in sys.argv[1].split('.'))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20)
s.sendto(bytes([7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]) + labels + bytes([0, 0, 1, 0, 1]), ('127.0.0.1', 42069))
a = s.recv(512)
print(a[3] & 15, '.'.join(map(str, a[-4:])) if a[7] else '-')";

fn the_host_reaches_what_listens(site: &Site) {
    let python = |script: &str, argument: &str| {
        let mut command = site.home.command("python3");
        command.args(["-c", script, argument]);
        site.run(&command).expect_code(0).stdout
    };
    // One that runs since before the network was looked at, and one that comes now.
    site.exec("open", SERVE).expect_code(0);
    let fetched = python(FETCH, "http://127.0.0.1:18080/");
    assert_eq!(fetched, "from a guest\n", "a published port");
    for vm in ["closed", "open"] {
        let port = site.await_port(vm, 8000);
        let resolved = python(RESOLVE, &format!("{vm}.vm"));
        let endpoint = port["endpoint"].as_str().expect("an endpoint").to_owned();
        assert_eq!(format!("0 {endpoint}\n"), resolved.trim_end().to_owned() + ":8000\n");
        assert_eq!(python(FETCH, &format!("http://{endpoint}/")), "from a guest\n", "{vm}");
        assert_eq!(port["process"]["name"], "perl", "{port}");
    }
    let told = site.banger(&["vm", "ports", "open"]).expect_code(0).stdout;
    assert!(told.contains("http://127.77."), "{told}");
    assert_eq!(python(RESOLVE, "nobody.vm"), "3 -\n");

    // All of that for this host alone: but for its own server, nothing is open to others.
    let open = python(LISTENING, "").lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(open.iter().any(|socket| socket.starts_with("127.77.")), "{open:?}");
    let others: Vec<_> = open.iter().filter(|socket| !socket.starts_with("127.")).collect();
    assert_eq!(others, ["0.0.0.0:8099 tcp"]);
}

fn the_way_out_opens_and_closes(site: &Site, internet: &str) {
    site.banger(&["vm", "set", "--nat", "closed"]).expect_code(0);
    assert!(site.fetch("closed", internet).is_some());
    site.banger(&["vm", "set", "--nat=off", "closed"]).expect_code(0);
    assert_eq!(site.fetch("closed", internet), None);
    assert!(site.fetch("open", internet).is_some(), "the other one is not concerned");
}

/// An address that the host gets later is as closed to guests as those that it had.
fn what_the_host_becomes_is_closed(site: &Site) {
    let mut add = site.home.command("ip");
    add.args(["addr", "add", "192.0.2.7/32", "dev", "out"]);
    site.run(&add).expect_code(0);
    let since = Instant::now();
    // Until the daemon has heard of it.
    while site.fetch("open", "http://192.0.2.7:8099/").is_some() {
        assert!(since.elapsed() < PATIENCE, "the host's new address is open");
    }
}

fn the_network_outlives_who_made_it(site: &Site, internet: &str) {
    site.banger(&["daemon", "stop"]).expect_code(0);
    let (holder, uplink) = site.noted();
    // Any command starts a new daemon.
    assert!(site.fetch("open", internet).is_some());
    assert!(site.fetch("open", "http://closed:8000/page").is_some());
    assert_eq!(site.noted(), (holder, uplink), "nothing was made anew");

    // All at once, but for the guests.
    let daemon = site.banger(&["daemon", "status", "--json"]).expect_code(0).json();
    kill_and_wait(i32::try_from(daemon["pid"].as_i64().expect("pid")).expect("fits"));
    kill_and_wait(holder);
    kill_and_wait(uplink.expect("a way out"));
    assert!(site.fetch("open", internet).is_some());
    assert!(site.fetch("open", "http://closed:8000/page").is_some());
    assert_eq!(site.fetch("closed", internet), None);
    assert_ne!(site.noted().0, holder);
    site.expect_bridge();
}
