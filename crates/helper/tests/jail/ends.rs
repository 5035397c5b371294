//! How a VMM in the jail ends, and what ends with whom.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::{Value, json};

use crate::rig::{HELPER, Host, Process, pid, probe_words, tree};

/// A supervisor that does nothing but that.
const SUPERVISOR: &str = r#"
import os, subprocess, sys
sys.stdin.close()
read, write = os.pipe()
os.dup2(write, 7)
os.close(write)
subprocess.Popen(sys.argv[1:], pass_fds=[7], stdin=subprocess.DEVNULL)
os.close(7)
sys.stdout.write(open(read).read())
sys.stdout.flush()
while True: os.wait()
"#;

/// Waits until the process is gone.
fn gone(process: u32) {
    let Ok(handle) = pidfd_open(pid(process), PidfdFlags::empty()) else { return };
    let deadline = Timespec { tv_sec: 60, tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&deadline)).expect("poll");
    assert_eq!(ended, 1, "process {process} lives");
}

/// State of the process, as `/proc` has it.
fn state(process: u32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("a process");
    stat.rsplit_once(") ").expect("its name").1.chars().take(1).collect()
}

#[test]
fn how_it_ends_is_the_programs_own() {
    let host = Host::new();
    let before = tree(&host.path("run"));
    assert_eq!(host.probe().ends(&json!(["end", 42])).exit_status(), Some(42));
    // Process 1 could not end itself by a signal.
    let aborted = host.probe().ends(&json!(["abort"]));
    assert_eq!(aborted.terminating_signal(), Some(Signal::ABORT.as_raw()));
    let killed = host.probe().ends(&json!(["kill", 2, 15]));
    assert_eq!(killed.terminating_signal(), Some(15));
    assert_eq!(tree(&host.path("run")), before, "no mount has left anything");
}

#[test]
fn signals_from_outside_reach_it() {
    let host = Host::new();
    let mut probe = host.probe();
    kill_process(pid(probe.vmm), Signal::STOP).unwrap();
    let begin = std::time::Instant::now();
    while state(probe.vmm) != "T" {
        assert!(begin.elapsed().as_secs() < 60, "it is not stopped");
    }
    kill_process(pid(probe.vmm), Signal::CONT).unwrap();
    probe.own();
    kill_process(pid(probe.vmm), Signal::KILL).unwrap();
    assert_eq!(probe.ended().terminating_signal(), Some(9));
    assert_eq!(probe.rest(), "", "nobody else has its output open");
}

#[test]
fn all_ends_with_the_first_process() {
    let mut probe = Host::new().probe();
    kill_process(pid(probe.init.unwrap()), Signal::KILL).unwrap();
    assert_eq!(probe.ended().terminating_signal(), Some(9));
}

#[test]
fn all_ends_with_the_supervisor() {
    let host = Host::new();
    let mut words = vec![HELPER.to_owned()];
    words.extend(host.words(&[], &["/usr/bin/sleep", "1000"]));
    let supervisor = Command::new("/usr/bin/python3")
        .args(["-c", SUPERVISOR])
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut supervisor = Process(supervisor);
    let mut line = String::new();
    BufReader::new(supervisor.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let report: Value = serde_json::from_str(&line).unwrap();
    let process = |name: &str| u32::try_from(report["started"][name].as_u64().unwrap()).unwrap();
    assert!(["S", "R"].contains(&state(process("vmm")).as_str()));
    supervisor.0.kill().unwrap();
    assert_eq!(supervisor.0.wait().unwrap().signal(), Some(9));
    gone(process("vmm"));
    gone(process("init"));
}

#[test]
fn what_cannot_be_begun_is_told() {
    let mut host = Host::new();
    let mut probe = host.start(&[], &[], &["/usr/bin/nothing"]);
    assert_eq!(probe.ended().exit_status(), Some(125));
    let said = probe.rest();
    assert!(said.starts_with("banger-helper: cannot execute `/usr/bin/nothing`"), "{said}");
    // It is there on the host, and not in the jail.
    let mut probe = host.start(&[], &[], &["/usr/sbin/nologin"]);
    assert_eq!(probe.ended().exit_status(), Some(125));

    host.spec.read.push("/".into());
    let output = Command::new("sh")
        .args(["-c", "exec 7>/dev/null; exec \"$@\"", "sh", HELPER])
        .args(host.words(&[], &probe_words()))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`/` in the description"));

    let output = Command::new(HELPER).args(Host::new().words(&[], &["true"])).output().unwrap();
    assert_eq!(output.status.code(), Some(125), "nobody listens");
}
