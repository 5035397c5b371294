//! Updates: this program, installed as a release, gets another one from a directory that is signed
//! with a key of openssl's making.

mod faults;
mod releases;

use std::fs;

use insta::assert_snapshot;

use crate::fake::Fake;
use crate::host::Host;
use releases::{INSTALLED, Installed, Releases, WORKS};

/// The calls that the new release got, in order.
fn calls(host: &Host) -> String {
    fs::read_to_string(host.path("home/calls")).unwrap_or_default()
}

#[test]
fn the_newest_release_takes_the_place() {
    let host = Host::new();
    let releases = Releases::new(&host);
    releases.publish("v0.2.0", WORKS);
    releases.publish("v0.3.0-rc.1", WORKS);
    let installed = Installed::new(&host, &releases);

    assert_snapshot!(installed.run(&["update", "--check"]), @r"
    v0.2.0 is there, v0.1.0 is in use: banger update
    -- exit 0
    ");
    assert_eq!(installed.list(), [INSTALLED], "a look changes nothing");
    assert_snapshot!(installed.run(&["update"]), @r"
    v0.2.0 is in use, v0.1.0 was before
    -- exit 0
    ");
    assert_eq!(installed.said(), "banger 0.2.0");
    let page = fs::read_to_string(host.path("home/.local/share/man/man1/banger.1"));
    assert_eq!(page.unwrap(), "v0.2.0");
    // Tried where it was unpacked, then as the daemon, which did not run before.
    assert_snapshot!(calls(&host), @r"
    0.2.0 version --json
    0.2.0 daemon start
    0.2.0 daemon status --json
    0.2.0 daemon stop
    0.2.0 version
    ");
    let list = installed.list();
    assert_eq!(list.len(), 3, "{list:?}");
    assert_eq!(list[..2], [".lock", INSTALLED]);
    assert!(list[2].starts_with("v0.2.0-"), "{list:?}");
}

#[test]
fn releases_that_nobody_needs_go_with_the_next_update() {
    let host = Host::new();
    let releases = Releases::new(&host);
    releases.publish("v0.2.0", WORKS);
    let installed = Installed::new(&host, &releases);
    for name in ["v0.0.1-aaaaaaaaaaaa", ".new-v0.0.2-bbbbbbbbbbbb", ".old.tar.gz.partial"] {
        fs::create_dir(installed.releases().join(name)).unwrap();
    }
    let told = installed.run(&["update", "--json"]);
    assert_snapshot!(told, @r#"
    {
      "installed": "v0.1.0",
      "available": "v0.2.0",
      "updated": true
    }
    -- exit 0
    "#);
    let list = installed.list();
    assert_eq!(list.len(), 3, "{list:?}");
    assert_eq!(list[..2], [".lock", INSTALLED]);

    // Again, and back: what was damaged meanwhile is whole afterwards.
    let second = installed.releases().join(&list[2]);
    fs::write(second.join("bin/banger"), "damaged").unwrap();
    installed.put_back();
    assert_snapshot!(installed.run(&["update"]), @r"
    v0.2.0 is in use, v0.1.0 was before
    -- exit 0
    ");
    assert_eq!(installed.said(), "banger 0.2.0");
    assert_eq!(installed.list(), list);
}

#[test]
fn an_idle_daemon_is_handed_over() {
    let host = Host::new();
    let releases = Releases::new(&host);
    releases.publish("v0.2.0", WORKS);
    let installed = Installed::new(&host, &releases);
    let _fake = Fake::start(&host).idle();
    assert_snapshot!(installed.run(&["update"]), @r"
    v0.2.0 is in use, v0.1.0 was before
    -- exit 0
    ");
    // It stays: one ran before.
    assert_snapshot!(calls(&host), @r"
    0.2.0 version --json
    0.2.0 daemon start
    0.2.0 daemon status --json
    ");
}

#[test]
fn a_daemon_at_work_is_left_alone() {
    let host = Host::new();
    let releases = Releases::new(&host);
    releases.publish("v0.2.0", WORKS);
    let installed = Installed::new(&host, &releases);
    let _fake = Fake::start(&host);
    assert_snapshot!(installed.run(&["update"]), @r"
    v0.2.0 is in use, v0.1.0 was before
    -- stderr
    note: the daemon is at work (1 requests) and stays version 0.1.0 until it is idle
    -- exit 0
    ");
    assert_snapshot!(calls(&host), @"0.2.0 version --json");
}

#[test]
fn not_back_and_not_elsewhere() {
    let host = Host::new();
    let releases = Releases::new(&host);
    releases.publish("v0.0.9", WORKS);
    let installed = Installed::new(&host, &releases);
    assert_snapshot!(installed.run(&["update"]), @r"
    -- stderr
    banger: v0.0.9 is older than v0.1.0, which is installed
      hint: to go back to it all the same: --force
    -- exit 1
    ");
    assert_snapshot!(installed.run(&["update", "--version", "v7.0.0"]), @r"
    -- stderr
    banger: there is no release v7.0.0
      hint: which is the newest: banger update --check
    -- exit 1
    ");
    assert!(installed.run(&["update", "--version", "../x"]).contains("`../x` is no version"));
    releases.publish("v0.1.0", WORKS);
    assert_snapshot!(installed.run(&["update"]), @r"
    v0.1.0 is in use already
    -- exit 0
    ");
    assert_snapshot!(installed.run(&["update", "--version", "v0.0.9", "--force"]), @r"
    v0.0.9 is in use, v0.1.0 was before
    -- exit 0
    ");
    assert_eq!(installed.said(), "banger 0.0.9");

    // This program as it was built is nobody's release.
    let told = host.run(&["update"]);
    assert!(
        told.contains("was not installed by banger's installer\n  hint: update it with"),
        "{told}"
    );
}
