//! A daemon that may have few open files.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;

use banger_e2e::Home;

/// Connections that say nothing, as many as there can be.
fn idle(socket: &Path, count: usize) -> Vec<UnixStream> {
    (0..count).map(|_| UnixStream::connect(socket).expect("a daemon that listens")).collect()
}

#[test]
fn it_says_that_it_has_no_more_and_goes_on_when_it_has() {
    let home = Home::empty();
    let mut start = home.command("/usr/bin/prlimit");
    start.arg("--nofile=64:64").arg(banger_e2e::banger()).args(["daemon", "start"]);
    assert!(start.status().expect("prlimit").success());
    let socket = home.runtime_dir().join("bangerd.sock");
    let list = || home.banger(["vm", "list"]);
    list().expect_code(0);

    // A third of the limit is for connections, and four of those are for saying so.
    let served = idle(&socket, 64 / 3 - 4);
    let refused = list().expect_code(1);
    assert!(refused.stderr.contains("serves 17 connections already"), "{}", refused.stderr);
    assert!(refused.stderr.contains("its limit of open files is 64"), "{}", refused.stderr);

    // With those gone, too, who comes waits until one of them closes; so do many more.
    let spare = idle(&socket, 40);
    let waiting = home.spawn_banger(["vm", "list"]);
    drop((served, spare));
    let output = waiting.wait_with_output().expect("an end");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    list().expect_code(0);

    // It was said when it was full, and once more at most for those that had given up in the queue;
    // nothing was tried over and over, and the daemon is the same.
    let log = fs::read_to_string(home.state_dir().join("bangerd.log")).expect("a log");
    let told = log.matches("no more connections are served").count();
    assert!((1..=2).contains(&told), "{log}");
    assert_eq!(log.matches("cannot accept").count(), 0, "{log}");
    assert_eq!(log.matches("daemon starts").count(), 1, "{log}");
    home.expect_nothing_left();
}
