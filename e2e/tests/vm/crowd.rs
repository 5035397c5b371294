//! Many VMs at once, made and deleted by many commands, each with a real guest.

use std::process::{Child, Output};
use std::time::{Duration, Instant};

use banger_e2e::{Home, SMALL};

/// A command that makes a VM of that image.
fn spawn_create(home: &Home, name: &str) -> Child {
    let machine = ["--image", SMALL, "--memory", "128M", "--vcpu", "1", "--disk-size", "64M"];
    home.spawn_banger([&["vm", "create", "--name", name], &machine[..]].concat())
}

fn wait(command: Child) -> (i32, String) {
    let Output { status, stderr, .. } = command.wait_with_output().expect("its end");
    (status.code().expect("no signal"), String::from_utf8_lossy(&stderr).into_owned())
}

/// Waits until the VM is in the list.
fn await_listed(home: &Home, name: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !home.list().iter().any(|vm| vm["name"] == name) {
        assert!(Instant::now() < deadline, "`{name}` is not made");
    }
}

#[test]
fn made_and_deleted_at_once_by_many_commands() {
    let home = Home::with_small_image();
    let names = ["one", "two", "three", "four", "twin", "twin"];
    let making = names.map(|name| spawn_create(&home, name));
    let doomed = spawn_create(&home, "doomed");
    await_listed(&home, "doomed");
    home.banger(["vm", "delete", "-f", "doomed"]).expect_code(0);
    let (code, stderr) = wait(doomed);
    assert!(code == 1 && stderr.contains("banger: "), "{code} {stderr}");

    let ends: Vec<_> = making.into_iter().map(wait).collect();
    let refused: Vec<_> = ends.iter().filter(|(code, _)| *code != 0).collect();
    assert!(refused.len() == 1 && refused[0].1.contains("`twin`"), "{ends:?}");
    assert_eq!(home.list().len(), 5);
    for name in ["one", "two", "three", "four", "twin"] {
        assert_eq!(home.exec(name, &["hostname"]).expect_code(0).stdout.trim_end(), name);
    }

    // What another command deletes is gone for both, whoever comes first; a VM that was not there
    // when a command looked is all that it may complain about.
    let delete = |names: &[&str]| home.spawn_banger([&["vm", "delete", "-f"], names].concat());
    let deleting =
        [&["one", "two", "three"][..], &["three", "two", "four"], &["twin", "one", "four"]];
    for (code, stderr) in deleting.map(delete).map(wait) {
        let unknown = stderr.lines().filter(|line| line.starts_with("banger: "));
        let unknown = unknown.filter(|line| !line.contains("no VM"));
        assert!(code == 0 || unknown.count() == 0, "{code} {stderr}");
    }
    assert!(home.list().is_empty());
    home.expect_nothing_left();
}
