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

#[test]
fn a_killed_agent_comes_back() {
    let home = Home::new();
    let vm = home.create("phoenix", &["--wait", "system", "--memory", "512M", "-e", "A=b"]);
    let boot = home.show(&vm)["guest"]["boot_id"].clone();
    kill_in_guest(&home, &vm, &["@banger-agent"]);
    // The same guest, with all that commands had.
    assert_eq!(home.exec(&vm, &["sh", "-c", "echo $A"]).expect_code(0).stdout, "b\n");
    let health = home.banger(["vm", "health", "--json", &vm]).expect_code(0).json();
    assert_eq!((&health["boot_id"], &health["healthy"]), (&boot, &true.into()));
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
