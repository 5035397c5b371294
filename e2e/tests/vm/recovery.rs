//! Programs are killed; nothing is lost and nothing is left.

use std::time::{Duration, Instant};

use banger_e2e::Home;
use rustix::process::{Pid, Signal, kill_process};

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL).expect("kill");
}

/// Waits for `done` to hold, which some process makes true soon.
#[track_caller]
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_vm_survives_the_daemons_death() {
    let home = Home::new();
    let vm = home.create("survivor", &[]);
    home.exec(&vm, &["sh", "-c", "echo here > /run/mark"]).expect_code(0);
    let boot = home.show(&vm)["guest"]["boot_id"].clone();
    let daemon = home.daemon_pid();
    kill(daemon);

    let listed = home.list();
    assert_eq!((listed.len(), &listed[0]["state"]), (1, &"running".into()));
    assert_ne!(home.daemon_pid(), daemon);
    assert_eq!(home.exec(&vm, &["cat", "/run/mark"]).expect_code(0).stdout, "here\n");
    assert_eq!(home.show(&vm)["guest"]["boot_id"], boot);

    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    assert!(home.list().is_empty());
    home.expect_nothing_left();
}

#[test]
fn a_killed_client_takes_its_disposable_vm_with_it() {
    let home = Home::new();
    let mut client =
        home.spawn_banger(["vm", "run", "--rm", "--name", "gone", "--", "sleep", "1000"]);
    eventually("the command runs", || {
        home.list().iter().any(|vm| vm["state"] == "running")
            && home.exec("gone", &["pgrep", "sleep"]).code() == 0
    });
    client.kill().expect("kill");
    client.wait().expect("reaped");
    eventually("the VM is gone", || home.list().is_empty());
    eventually("its processes are gone", || home.vm_processes().is_empty());
    home.expect_nothing_left();
}

#[test]
fn a_killed_vmm_is_noticed_and_the_vm_starts_again() {
    let home = Home::new();
    let vm = home.create("phoenix", &[]);
    home.exec(&vm, &["sh", "-c", "echo kept > /root/file; sync"]).expect_code(0);
    let vmm =
        home.processes().into_iter().find(|line| line.contains("qemu-system")).expect("a VMM runs");
    kill(vmm.split(' ').next().and_then(|pid| pid.parse().ok()).expect("its pid"));
    eventually("the VM is seen to be down", || home.show(&vm)["state"] == "stopped");

    home.banger(["vm", "start", &vm]).expect_code(0);
    assert_eq!(home.exec(&vm, &["cat", "/root/file"]).expect_code(0).stdout, "kept\n");
    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    home.expect_nothing_left();
}

#[test]
fn a_vm_of_a_lost_database_runs_on_until_its_removal_is_asked_for() {
    let home = Home::new();
    let vm = home.create("orphan", &[]);
    let id = home.show(&vm)["id"].as_str().expect("an id").to_owned();
    banger_e2e::kill_and_wait(home.daemon_pid());
    let aside = home.path().join("aside");
    std::fs::create_dir(&aside).expect("a directory");
    for file in ["banger.db", "banger.db-wal", "banger.db-shm"] {
        // Whether there is a log beside the database depends on how its daemon ended.
        let _ = std::fs::rename(home.state_dir().join(file), aside.join(file));
    }
    assert!(home.list().is_empty());
    let shown = home.banger(["system", "gc", "--dry-run"]).expect_code(0).stdout;
    assert!(shown.contains(&id) && shown.contains("process"), "{shown}");
    assert!(home.processes().iter().any(|line| line.contains("qemu-system")));

    home.banger(["system", "gc", "-f"]).expect_code(0);
    assert!(!home.processes().iter().any(|line| line.contains("qemu-system")));
    home.banger(["system", "gc", "-f"]).expect_code(0).expect_stderr(&["nothing to remove"]);
    home.expect_nothing_left();
}
