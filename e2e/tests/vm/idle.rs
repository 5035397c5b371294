//! A guest that nobody uses.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use banger_e2e::Home;

/// Longer than anything takes here, also without hardware virtualisation.
const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn an_idle_guest_is_stopped_and_one_at_work_is_not() {
    let home = Home::new();
    let args = ["--wait", "system", "--memory", "512M", "--idle-stop", "8s"];
    let vm = home.create("sleeper", &args);
    // At work for longer than the period, without anybody's command.
    let work = "(timeout 15 sh -c 'while :; do :; done'; echo > /root/done) > /dev/null 2>&1 &";
    home.exec(&vm, &["sh", "-c", work]).expect_code(0);
    home.banger(["vm", "wait", "--for", "stopped", "--timeout", "300", &vm]).expect_code(0);
    let shown = home.show(&vm);
    assert_eq!(shown["ended"], serde_json::json!({"idle": 8}), "{shown}");
    assert_eq!(
        shown["history"].as_array().and_then(|all| all.last()).expect("it")["cause"],
        "idle"
    );
    let text = home.banger(["vm", "show", &vm]).expect_code(0).stdout;
    assert!(text.contains("idle for 8s") && text.contains("idle stop:"), "{text}");
    home.banger(["vm", "start", &vm]).expect_code(0);
    home.exec(&vm, &["cat", "/root/done"]).expect_code(0);
    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    home.expect_nothing_left();
}

#[test]
fn a_guest_that_nobody_uses_stands_still_and_wakes_for_who_does() {
    let home = Home::new();
    let periods = ["--idle-pause", "8s", "--idle-stop", "20s"];
    let vm =
        home.create("napper", &[&["--wait", "system", "--memory", "512M"][..], &periods].concat());
    let serve = "cd /etc/systemd/system && printf '[Socket]\nListenStream=0.0.0.0:8080\nAccept=yes\n\
        [Install]\nWantedBy=sockets.target\n' > hello.socket && printf '[Service]\n\
        ExecStart=/bin/echo hello\nStandardOutput=socket\n' > hello@.service && \
        systemctl enable --now hello.socket";
    home.exec(&vm, &["sh", "-c", serve]).expect_code(0);
    let at = reached_at(&home, &vm, 8080);
    let boot = || home.exec(&vm, &["cat", "/proc/sys/kernel/random/boot_id"]).expect_code(0).stdout;
    let booted = boot();
    let paused = until(&home, &vm, "paused");
    assert_eq!(paused["paused_idle_seconds"], 8, "{paused}");
    // Looking wakes nobody, and waits for nobody.
    home.banger(["vm", "ping", &vm]).expect_code(1).expect_stderr(&["is paused", "vm resume"]);
    let stats = home.banger(["vm", "stats", &vm]).expect_code(0).json();
    assert_eq!(stats["vms"][0]["guest"], serde_json::Value::Null, "{stats}");
    let text = home.banger(["vm", "show", &vm]).expect_code(0).stdout;
    assert!(text.contains("paused, idle for 8s") && text.contains("idle pause:"), "{text}");
    assert_eq!(boot(), booted, "it goes on where it was");
    assert_eq!(home.show(&vm)["state"], "running");

    // In the end it is down, and starts for who connects to a port that it had.
    home.banger(["vm", "wait", "--for", "stopped", "--timeout", "300", &vm]).expect_code(0);
    let shown = home.show(&vm);
    assert_eq!(shown["ended"], serde_json::json!({"idle": 20}), "{shown}");
    let mut client = TcpStream::connect(&at).expect("a port that is there");
    client.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    let mut greeting = String::new();
    client.read_to_string(&mut greeting).expect("a server that speaks");
    assert_eq!(greeting, "hello\n");
    let history = home.show(&vm)["history"].clone();
    assert_eq!(history.as_array().and_then(|all| all.last()).expect("it")["cause"], "wake");
    drop(client);
    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    home.expect_nothing_left();
}

/// Where the host reaches a port of a VM, as soon as it does.
fn reached_at(home: &Home, vm: &str, port: u16) -> String {
    let since = Instant::now();
    loop {
        let told = home.banger(["vm", "ports", "--json", vm]).expect_code(0).json();
        let ports = told[0]["ports"].as_array().expect("ports");
        let found = ports.iter().find(|found| found["port"] == port);
        if let Some(at) = found.and_then(|found| found["endpoint"].as_str()) {
            return at.to_owned();
        }
        assert!(since.elapsed() < PATIENCE, "{told}");
    }
}

/// Looks at a VM until it is in this state.
fn until(home: &Home, vm: &str, state: &str) -> serde_json::Value {
    let since = Instant::now();
    loop {
        let shown = home.show(vm);
        if shown["state"] == state {
            return shown;
        }
        assert!(since.elapsed() < PATIENCE, "{shown}");
    }
}
