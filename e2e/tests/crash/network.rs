//! The network that the VMs are on: whether a guest reaches the host by it, and what is left of it.

use std::io::Write;
use std::net::TcpListener;
use std::sync::OnceLock;

use banger_e2e::Home;
use banger_proto::helper::tap_name;

/// What is said at the host's port.
const WORD: &[u8] = b"the host\n";
/// What the daemon keeps of the network in its runtime directory.
const FILES: [&str; 4] = ["network.json", "network.json.new", "uplink.log", "uplink.pid"];

/// A port of the host's loopback address at which somebody answers as long as the tests run.
pub(crate) fn host_port() -> &'static str {
    static PORT: OnceLock<String> = OnceLock::new();
    PORT.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its number").port().to_string();
        std::thread::spawn(move || {
            for guest in listener.incoming() {
                // A guest that goes away is asked again by whoever runs it.
                let _ = guest.and_then(|mut guest| guest.write_all(WORD));
            }
        });
        port
    })
}

/// Asserts that the VM reaches the host's port: by its card, the bridge, the rules and the daemon.
pub(crate) fn expect_reaches_host(home: &Home, vm: &str) {
    let heard = home.exec(vm, &["nc", "-w", "30", "host.vm", host_port()]).expect_code(0);
    assert_eq!(heard.stdout.as_bytes(), WORD);
}

/// Whether the VM with `id` has a tap, in whatever namespace a process of `home` is.
pub(crate) fn has_tap(home: &Home, id: &str) -> bool {
    let tap = tap_name(&id.parse().expect("an id"));
    home.processes().iter().any(|line| {
        let pid = line.split(' ').next().unwrap_or_default();
        // It may have ended meanwhile.
        std::fs::read_to_string(format!("/proc/{pid}/net/dev")).is_ok_and(|dev| dev.contains(&tap))
    })
}

/// Stops the daemon, which has no VM that runs, and asserts that the network is gone with it: who
/// keeps the namespace, who serves in it, the way out, and the files.
pub(crate) fn expect_ends_with_daemon(home: &Home) {
    home.banger(["daemon", "stop"]).expect_code(0);
    assert_eq!(home.processes(), [""; 0], "processes are left");
    for file in FILES {
        assert!(!home.runtime_dir().join(file).exists(), "{file} is left");
    }
}
