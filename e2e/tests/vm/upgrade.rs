//! A newer banger beside VMs and daemons of an older one.

use std::fs::{File, FileTimes};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, SystemTime};

use banger_e2e::{Home, Ran};

/// A copy of the programs under test that passes for an earlier build: a build is known by the
/// time and size of its file.
pub(crate) fn earlier_build(home: &Home) -> PathBuf {
    let old = home.path().join("old");
    std::fs::create_dir(&old).expect("a directory");
    let copied = std::process::Command::new("cp")
        .args(["-aL", "--parents", "bin/banger", "lib/banger"])
        .arg(&old)
        .current_dir(banger_e2e::prefix())
        .status();
    assert!(copied.expect("cp").success());
    let program = old.join("bin/banger");
    let file = File::options().write(true).open(&program).expect("the copy");
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    file.set_times(FileTimes::new().set_modified(time)).expect("its time");
    program
}

pub(crate) fn run(home: &Home, program: &Path, args: &[&str]) -> Ran {
    let mut command = home.command(program);
    command.args(args);
    Ran::of(command, b"").expect_code(0)
}

/// Whether a supervisor of this build runs in the home.
fn runs_supervisor(home: &Home, program: &Path) -> bool {
    let prefix = program.parent().and_then(Path::parent).expect("a prefix");
    let supervisor = prefix.join("lib/banger/banger-supervisor");
    home.processes().iter().any(|line| {
        let pid = line.split(' ').next().expect("a pid");
        std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == supervisor)
    })
}

/// A command that has said something and runs until its input ends.
fn open_session(home: &Home, program: &Path, vm: &str) -> Child {
    let mut command = home.command(program);
    command.args(["vm", "exec", vm, "--", "sh", "-c", "echo ready; cat"]);
    let mut session =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a session");
    let mut said = String::new();
    let mut output = BufReader::new(session.stdout.take().expect("piped"));
    output.read_line(&mut said).expect("its first line");
    assert_eq!(said, "ready\n");
    session
}

#[test]
fn vms_of_an_earlier_build_go_on_under_a_newer_daemon() {
    let home = Home::new();
    let old = earlier_build(&home);
    let vm = "elder";
    run(&home, &old, &["vm", "create", "--name", vm, "--memory", "512M"]);
    run(&home, &old, &["vm", "exec", vm, "--", "sh", "-c", "echo here > /run/mark"]);
    let shown = run(&home, &old, &["vm", "show", "--json", vm]).json();
    let daemon = run(&home, &old, &["daemon", "status", "--json"]).json()["pid"].clone();
    assert!(runs_supervisor(&home, &old));

    // Somebody works with the older daemon: it stays, and serves the newer command.
    let mut session = open_session(&home, &old, vm);
    assert_eq!(home.list().len(), 1);
    assert_eq!(i64::from(home.daemon_pid()), daemon.as_i64().expect("a pid"));
    drop(session.stdin.take());
    assert!(session.wait().expect("its end").success());

    // Now nobody does. The VM does not notice.
    let listed = home.list();
    assert_eq!(listed[0]["state"], "running");
    assert_ne!(i64::from(home.daemon_pid()), daemon.as_i64().expect("a pid"));
    assert_eq!(home.exec(vm, &["cat", "/run/mark"]).expect_code(0).stdout, "here\n");
    let now = home.show(vm);
    assert_eq!(now["guest"]["boot_id"], shown["guest"]["boot_id"]);
    assert_eq!(now["history"], shown["history"]);
    // Its supervisor still is the older one, and does what it is told.
    assert!(runs_supervisor(&home, &old));
    home.banger(["vm", "restart", vm]).expect_code(0);
    assert!(!runs_supervisor(&home, &old));
    home.banger(["vm", "delete", "-f", vm]).expect_code(0);
    home.expect_nothing_left();
}
