//! A daemon that may have few open files.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;

use banger_e2e::{Home, SMALL};

/// Connections that say nothing, as many as there can be.
fn idle(socket: &Path, count: usize) -> Vec<UnixStream> {
    (0..count).map(|_| UnixStream::connect(socket).expect("a daemon that listens")).collect()
}

/// Starts the home's daemon with so many open files at most.
fn start_daemon(home: &Home, open_files: u32) {
    let mut start = home.command("/usr/bin/prlimit");
    start.arg(format!("--nofile={open_files}:{open_files}"));
    start.arg(banger_e2e::banger()).args(["daemon", "start"]);
    assert!(start.status().expect("prlimit").success());
}

#[test]
fn it_says_that_it_has_no_more_and_goes_on_when_it_has() {
    let home = Home::empty();
    start_daemon(&home, 64);
    let socket = home.runtime_dir().join("bangerd.sock");
    let list = || home.banger(["vm", "list"]);
    list().expect_code(0);

    // A quarter of the limit is for ports of guests. A third of the rest is for connections, and four
    // of those are for saying so.
    let served = idle(&socket, 48 / 3 - 4);
    let refused = list().expect_code(1);
    assert!(refused.stderr.contains("serves 12 connections already"), "{}", refused.stderr);
    assert!(refused.stderr.contains("requests may have 48 files open"), "{}", refused.stderr);

    // With those gone, too, who comes waits until one of them closes; so do many more.
    let spare = idle(&socket, 40);
    let waiting = home.spawn_banger(["vm", "list"]);
    drop((served, spare));
    let output = waiting.wait_with_output().expect("an end");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    list().expect_code(0);

    // It was said once, however many came; nothing was tried over and over, and the daemon is the
    // same.
    let log = fs::read_to_string(home.state_dir().join("bangerd.log")).expect("a log");
    assert_eq!(log.matches("no more connections are served").count(), 1, "{log}");
    assert_eq!(log.matches("cannot accept").count(), 0, "{log}");
    assert_eq!(log.matches("daemon starts").count(), 1, "{log}");
    home.expect_nothing_left();
}

#[test]
fn a_vm_too_many_is_refused_and_nothing_of_it_stays() {
    let home = Home::with_small_image();
    home.banger(["daemon", "stop"]).expect_code(0);
    start_daemon(&home, 40);
    let machine = ["--image", SMALL, "--memory", "128M", "--vcpu", "1", "--disk-size", "64M"];
    let create =
        |name: &str| home.banger([&["vm", "create", "--name", name], &machine[..]].concat());
    let mut made = Vec::new();
    let refused = loop {
        assert!(made.len() < 20, "40 open files are enough for 20 VMs");
        let name = format!("vm-{}", made.len());
        let ran = create(&name);
        if ran.code() != 0 {
            break ran;
        }
        made.push(name);
    };
    assert!(!made.is_empty() && refused.code() == 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("Too many open files"), "{}", refused.stderr);

    // Those that were there are as they were, and with one of them gone there is room again.
    assert_eq!(home.list().len(), made.len());
    for name in &made {
        assert_eq!(home.exec(name, &["hostname"]).expect_code(0).stdout.trim_end(), name);
    }
    home.banger(["vm", "delete", "-f", &made[0]]).expect_code(0);
    create("later").expect_code(0);
    home.banger(["vm", "delete", "-f", "later"]).expect_code(0);
    for name in &made[1..] {
        home.banger(["vm", "delete", "-f", name]).expect_code(0);
    }
    home.expect_nothing_left();
}
