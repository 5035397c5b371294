//! What real guests say of themselves, and what they cost the host.

use std::time::{Duration, Instant};

use banger_e2e::{Home, SMALL};
use serde_json::Value;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[test]
fn a_guest_that_works_and_its_failed_unit_are_seen() {
    let home = Home::new();
    let vm = home.create("watched", &["--wait", "system", "--memory", "512M"]);

    let pong = home.banger(["vm", "ping", "--json", &vm]).expect_code(0).json();
    assert!(number(&pong["micros"]) > 0.0);
    let health = home.banger(["vm", "health", "--json", &vm]).expect_code(0).json();
    assert_eq!((&health["healthy"], &health["init"]), (&true.into(), &"systemd".into()));
    assert_eq!(health["system"], serde_json::json!({"state": "running", "failed_units": []}));
    let memory = &health["memory"];
    assert!(number(&memory["used"]) < number(&memory["total"]), "{memory}");
    // Less than the machine has: the kernel keeps some for itself.
    assert!((400.0..=512.0).contains(&(number(&memory["total"]) / f64::from(1 << 20))), "{memory}");

    // A guest at work is seen from both sides.
    let mut busy =
        home.spawn_banger(["vm", "exec", &vm, "--", "sh", "-c", "echo; while :; do :; done"]);
    let mut said = String::new();
    let mut output = std::io::BufReader::new(busy.stdout.take().expect("piped"));
    std::io::BufRead::read_line(&mut output, &mut said).expect("a command that runs");
    let stats = home.banger(["vm", "stats", &vm]).expect_code(0).json();
    let (host, guest) = (&stats["vms"][0]["host"], &stats["vms"][0]["guest"]);
    assert!(number(&guest["cpu_percent"]) > 20.0, "{stats}");
    assert!(number(&host["vmm"]["cpu_percent"]) > 20.0, "{stats}");
    assert!(number(&host["vmm"]["rss"]) > f64::from(16 << 20), "{stats}");
    assert!(number(&host["supervisor"]["rss"]) < f64::from(16 << 20), "{stats}");
    assert!(number(&guest["disk"]["total"]) > f64::from(1 << 30), "{stats}");

    // Its command goes with it.
    busy.kill().expect("a process to kill");
    busy.wait().expect("its end");

    what_a_guest_needs_no_more_the_host_has_again(&home, &vm, 200, "");

    home.exec(&vm, &["systemd-run", "--wait", "--unit=broken", "false"]).expect_code(1);
    let health = home.banger(["vm", "health", &vm]).expect_code(1).stdout;
    assert!(health.contains("degraded") && health.contains("broken.service"), "{health}");

    home.banger(["vm", "stop", "-t", "0", &vm]).expect_code(0);
    let stats = home.banger(["vm", "stats", &vm]).expect_code(0).json();
    assert_eq!((&stats["vms"][0]["host"], &stats["vms"][0]["guest"]), (&Value::Null, &Value::Null));
    home.banger(["vm", "ping", &vm]).expect_code(1).expect_stderr(&["does not run", "vm start"]);
    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    home.expect_nothing_left();
}

/// Nothing in its image loads the driver of the balloon.
#[test]
fn a_guest_without_an_init_gives_memory_back() {
    let home = Home::with_small_image();
    let machine = ["--name", "plain", "--image", SMALL, "--memory", "256M"];
    home.banger([&["vm", "create"], &machine[..]].concat()).expect_code(0);
    what_a_guest_needs_no_more_the_host_has_again(&home, "plain", 64, "busybox ");
    home.banger(["vm", "delete", "-f", "plain"]).expect_code(0);
    home.expect_nothing_left();
}

/// Some MiB, by the commands of coreutils; `tools` comes before each of them.
fn what_a_guest_needs_no_more_the_host_has_again(home: &Home, vm: &str, mib: u32, tools: &str) {
    let memory = || {
        let stats = home.banger(["vm", "stats", vm]).expect_code(0).json();
        number(&stats["vms"][0]["host"]["vmm"]["rss"])
    };
    let bytes = mib << 20;
    let script = format!("{tools}head -c {bytes} /dev/urandom >/dev/shm/file");
    home.exec(vm, &["sh", "-c", &script]).expect_code(0);
    let needed = memory();
    home.exec(vm, &["sh", "-c", &format!("{tools}rm /dev/shm/file")]).expect_code(0);
    let since = Instant::now();
    while memory() > needed - f64::from(bytes / 2) {
        assert!(since.elapsed() < Duration::from_secs(60), "the VMM keeps {needed} bytes");
    }
}

#[test]
fn a_guest_that_stands_still_is_told() {
    let home = Home::new();
    let vm = home.create("frozen", &["--memory", "512M"]);
    let stats = home.banger(["vm", "stats", &vm]).expect_code(0).json();
    let vmm = number(&stats["vms"][0]["host"]["vmm"]["pid"]);
    let signal = |name: &str| {
        let sent = std::process::Command::new("kill").arg(name).arg(vmm.to_string()).status();
        assert!(sent.expect("kill").success());
    };
    signal("-STOP");
    home.banger(["vm", "ping", "--timeout", "1", &vm])
        .expect_code(1)
        .expect_stderr(&["`frozen` does not answer", "banger vm logs frozen"]);
    signal("-CONT");
    home.banger(["vm", "ping", &vm]).expect_code(0);
    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    home.expect_nothing_left();
}
