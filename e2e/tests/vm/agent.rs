//! Somebody in the guest kills banger's agent.

use std::time::{Duration, Instant};

use banger_e2e::Home;

/// Kills processes of banger's in the guest by their names; the command goes without its end
/// being told.
fn kill_in_guest(home: &Home, vm: &str, names: &[&str]) {
    // All at once: whoever is told of another's end must not get to act on it.
    let script =
        "pids=; for name; do pids=\"$pids $(pgrep -f ^$name)\"; done; kill -9 $pids; sleep 60";
    let ran = home.exec(vm, &[&["sh", "-c", script, "sh"], names].concat());
    assert_eq!(ran.code(), 125, "{}", ran.stderr);
}

/// How far the job counts: further than its pipe has room for.
const LAST: u32 = 20_000;

/// Kills the agent by a job that writes on at once. A command goes without its end being told.
fn kill_by_job(home: &Home, vm: &str) -> String {
    home.exec(vm, &["mkfifo", "/run/gate"]).expect_code(0);
    let script = format!(
        "read line < /run/gate; kill -9 $(pgrep -f ^@banger-agent); seq {LAST}; \
         cat /run/gate; echo over >&2"
    );
    let started = home.banger(["vm", "exec", "-d", vm, "--", "sh", "-c", &script]).expect_code(0);
    let ran = home.exec(vm, &["sh", "-c", "echo go > /run/gate; sleep 60"]);
    assert_eq!(ran.code(), 125, "{}", ran.stderr);
    started.stdout.trim().to_owned()
}

/// Nothing is missing of what the job wrote, and it goes on.
fn expect_counted(home: &Home, vm: &str, job: &str) {
    let running = home.banger(["vm", "jobs", "--json", vm]).expect_code(0).json();
    assert_eq!(running["jobs"][0]["state"], "running", "{running}");
    home.exec(vm, &["sh", "-c", "echo on > /run/gate"]).expect_code(0);
    let read = home.banger(["vm", "job", "logs", "-f", vm, job]).expect_code(125);
    let numbers: String = (1..=LAST).map(|number| format!("{number}\n")).collect();
    assert!(read.stdout == format!("{numbers}on\n"), "{} bytes", read.stdout.len());
    read.expect_stderr(&["over", "nobody saw how job"]);
}

#[test]
fn a_killed_agent_comes_back() {
    let home = Home::new();
    let vm = home.create("phoenix", &["--wait", "system", "--memory", "512M", "-e", "A=b"]);
    let boot = home.show(&vm)["guest"]["boot_id"].clone();
    let job = kill_by_job(&home, &vm);
    // The same guest, with all that commands had.
    assert_eq!(home.exec(&vm, &["sh", "-c", "echo $A"]).expect_code(0).stdout, "b\n");
    let health = home.banger(["vm", "health", "--json", &vm]).expect_code(0).json();
    assert_eq!((&health["boot_id"], &health["healthy"]), (&boot, &true.into()));
    expect_counted(&home, &vm, &job);
    home.banger(["vm", "stop", &vm]).expect_code(0);
    assert_eq!(home.show(&vm)["ended"], "powered_off");
    home.banger(["vm", "delete", &vm]).expect_code(0);
    home.expect_nothing_left();
}

#[test]
fn an_agent_that_is_gone_for_good_is_told_with_the_way_out() {
    let home = Home::new();
    let vm = home.create("mute", &["--wait", "system", "--memory", "512M"]);
    kill_in_guest(&home, &vm, &["@banger-guard", "@banger-agent"]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while home.show(&vm)["guest"]["agent_gone"] != true {
        assert!(Instant::now() < deadline, "nobody notices");
    }
    let shown = home.banger(["vm", "show", &vm]).expect_code(0).stdout;
    assert!(shown.contains("banger vm restart mute"), "{shown}");
    for call in [&["vm", "exec", "mute", "--", "true"][..], &["vm", "ping", "mute"]] {
        let refused = home.banger(call);
        assert_ne!(refused.code(), 0);
        refused.expect_stderr(&["mute", "banger vm restart mute"]);
    }
    home.banger(["vm", "restart", "-t", "20", &vm]).expect_code(0);
    home.exec(&vm, &["true"]).expect_code(0);
    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    home.expect_nothing_left();
}
