//! Sessions without a terminal: signals, closed pipes, `exec`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use banger_proto::api::StateName;
use insta::assert_snapshot;
use rustix::process::{Pid, Signal, kill_process};

use crate::fake::Fake;
use crate::host::Host;

fn with_vm(host: &Host) -> Fake {
    Fake::start(host).with("aabbccddeeff", "web", StateName::Running)
}

/// Starts a command that says when it sleeps, and waits for that.
fn asleep(host: &Host, args: &[&str]) -> (Child, BufReader<ChildStdout>) {
    started(host.banger(args))
}

fn started(mut command: Command) -> (Child, BufReader<ChildStdout>) {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "asleep\n");
    (child, stdout)
}

#[test]
fn exec_exits_with_the_commands_code() {
    let host = Host::new();
    let fake = with_vm(&host);
    assert_snapshot!(host.run(&["exec", "web", "exit", "9"]), @"-- exit 9");
    assert_snapshot!(host.run(&["vm", "exec", "-e", "K=v=w", "aabbccddeeff", "--", "say"]), @r"
    out
    -- stderr
    err
    -- exit 0
    ");
    assert!(fake.log()[1].contains(r#""env":{"K":"v=w"},"cwd":null"#));
    assert_snapshot!(host.run(&["exec", "nowhere", "--", "true"]), @r"
    -- stderr
    banger: not found: no VM `nowhere`
      caused by: the list is all there is
      hint: `banger ls` shows all VMs
      (op 0000000000aa)
    -- exit 125
    ");
}

#[test]
fn signals_reach_the_command() {
    let host = Host::new();
    let _fake = with_vm(&host);
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::USR1, 138)] {
        let (mut child, _stdout) = asleep(&host, &["exec", "web", "--", "sleep"]);
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
}

/// Starts a command that takes no input before it gets a signal, with 1 MiB of input; returns
/// once the command has had its first window.
fn gulping(host: &Host) -> Child {
    let mut child = host
        .banger(&["exec", "web", "--", "gulp"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Ends with the client at the latest, whose end breaks the pipe.
    std::thread::spawn(move || stdin.write_all(&vec![7; 1 << 20]));
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "asleep\n");
    child
}

#[test]
fn input_stops_at_the_window_and_goes_on_by_credit() {
    let host = Host::new();
    let fake = with_vm(&host);
    let mut child = gulping(&host);
    kill_process(Pid::from_child(&child), Signal::USR1).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(
        fake.log()[1..],
        ["262144 bytes, then a signal", "Stdin of 1", "1048576 bytes in all"]
    );
}

#[test]
fn signals_overtake_input_that_is_not_taken() {
    let host = Host::new();
    let _fake = with_vm(&host);
    let mut child = host
        .banger(&["exec", "web", "--", "sleep"])
        .stdin(std::fs::File::open("/dev/zero").unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn what_was_ignored_stays_ignored() {
    let host = Host::new();
    let _fake = with_vm(&host);
    // As `nohup` does it.
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"trap "" HUP; exec "$0" exec web -- sleep"#, env!("CARGO_BIN_EXE_banger")])
        .env("HOME", host.path("home"))
        .env("XDG_RUNTIME_DIR", host.path("run"));
    let (mut child, _stdout) = started(command);
    for signal in [Signal::HUP, Signal::TERM] {
        kill_process(Pid::from_child(&child), signal).unwrap();
    }
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn the_third_interrupt_gives_up() {
    let host = Host::new();
    let fake = with_vm(&host);
    let (mut child, _stdout) = asleep(&host, &["exec", "web", "--", "deaf"]);
    let pid = Pid::from_child(&child);
    for received in ["signal 1", "signal 2"] {
        kill_process(pid, Signal::INT).unwrap();
        fake.wait_for(received);
    }
    kill_process(pid, Signal::INT).unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(stderr, "banger: the command does not react to Ctrl-C: session closed\n");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    fake.wait_for("gone after 2 signals");
}

#[test]
fn a_reader_that_goes_ends_the_command_quietly() {
    let host = Host::new();
    let fake = with_vm(&host);
    let mut child = host
        .banger(&["exec", "web", "--", "yes"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    drop(stdout);
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((line.as_str(), stderr.as_str()), ("y\n", ""));
    assert_eq!(child.wait().unwrap().code(), Some(141));
    fake.wait_for("yes was hung up on");
}
