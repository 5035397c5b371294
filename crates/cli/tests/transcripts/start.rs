//! Daemons that are started, stopped and killed for real: there is one whenever one is needed,
//! and never two.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::Value;

use crate::host::Host;

/// How long a line of a log may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A user whose daemon is real, and ends with this value.
struct User(Host);

impl User {
    fn new() -> Self {
        let host = Host::new();
        // Daemons of several tests run at once, and one at a time has the port for names.
        let config = host.path("home/.config/banger");
        std::fs::create_dir_all(&config).unwrap();
        std::fs::write(config.join("config.toml"), "dns_listen = \"off\"\n").unwrap();
        Self(host)
    }

    /// Runs a command that has to succeed; what it prints.
    fn run(&self, args: &[&str]) -> String {
        succeed(self.0.banger(args).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// The daemon's process.
    fn pid(&self) -> i32 {
        let status: Value =
            serde_json::from_str(&self.run(&["daemon", "status", "--json"])).unwrap();
        status["pid"].as_i64().unwrap().try_into().unwrap()
    }

    /// A daemon that is started by hand; its standard output tells how that goes.
    fn daemon(&self) -> Child {
        self.daemon_with(Stdio::null())
    }

    /// A daemon that is started with `input` as its standard input.
    fn daemon_with(&self, input: impl Into<Stdio>) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_banger"));
        command
            .arg0("bangerd")
            .args(["--ready-fd", "1"])
            .env_clear()
            .env("HOME", self.0.path("home"))
            .env("XDG_RUNTIME_DIR", self.0.path("run"))
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command.spawn().unwrap()
    }
}

/// The lines of a program that goes on, as they come.
fn read_lines(output: ChildStdout) -> Receiver<String> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(output).lines();
        lines.by_ref().map_while(Result::ok).try_for_each(|line| tell.send(line))
    });
    told
}

/// Waits for the next line with `text` in it.
fn wait_for(lines: &Receiver<String>, text: &str) {
    let since = Instant::now();
    let next = || lines.recv_timeout(PATIENCE.saturating_sub(since.elapsed()));
    while !next().unwrap_or_else(|_| panic!("no `{text}`")).contains(text) {}
}

#[test]
fn a_log_is_followed_from_daemon_to_daemon() {
    let user = User::new();
    user.run(&["daemon", "start"]);
    let follow = ["daemon", "logs", "-f", "--tail", "1"];
    let mut logs = user.0.banger(&follow).stdout(Stdio::piped()).spawn().unwrap();
    let lines = read_lines(logs.stdout.take().unwrap());
    wait_for(&lines, "  INFO   ");
    user.run(&["daemon", "stop"]);
    wait_for(&lines, "daemon ended");
    // As a full log is.
    let log = user.0.path("home/.local/state/banger/bangerd.log");
    std::fs::rename(&log, log.with_extension("log.1")).unwrap();
    user.run(&["daemon", "start"]);
    wait_for(&lines, "daemon starts");
    logs.kill().unwrap();
    logs.wait().unwrap();
    assert!(user.run(&["daemon", "logs", "--tail", "1"]).contains("  INFO   "));
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = self.0.banger(&["daemon", "stop"]).output();
    }
}

/// What a program that has to succeed prints.
fn succeed(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// As a service manager does it: the socket is there before the daemon, and after it.
#[test]
fn a_socket_that_is_handed_over_outlives_the_daemon() {
    let user = User::new();
    let listener = UnixListener::bind(user.0.socket()).unwrap();
    let mut pids = Vec::new();
    for _ in 0..2 {
        // Asked before there is anybody to answer, and answered all the same.
        let early = user.0.banger(&["ls", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
        let handed = OwnedFd::from(listener.try_clone().unwrap());
        let mut daemon = user.daemon_with(handed);
        assert!(succeed(early).contains("\"vms\": []"));
        assert_eq!(user.pid(), daemon.id().cast_signed());
        pids.push(user.pid());
        user.run(&["daemon", "stop"]);
        assert!(daemon.wait().unwrap().success());
        assert!(user.0.socket().exists());
    }
    assert_ne!(pids[0], pids[1]);
    // Nobody else listens there: with the socket the daemon of a command is in nobody's way.
    drop(listener);
    std::fs::remove_file(user.0.socket()).unwrap();
}

#[test]
fn the_next_command_after_a_kill_has_a_daemon() {
    let user = User::new();
    user.run(&["daemon", "start"]);
    for _ in 0..10 {
        let killed = user.pid();
        // Not waited for: the kernel may take its time to take it apart.
        kill(killed);
        assert!(user.run(&["ls", "--json"]).contains("\"vms\": []"));
        assert_ne!(user.pid(), killed);
    }
}

#[test]
fn a_daemon_that_ends_is_waited_for() {
    let user = User::new();
    user.run(&["daemon", "start"]);
    for _ in 0..10 {
        let ending = Pid::from_raw(user.pid()).unwrap();
        let ended = pidfd_open(ending, PidfdFlags::empty()).unwrap();
        kill_process(ending, Signal::TERM).unwrap();
        user.run(&["daemon", "start"]);
        // Either it was still at work, or there is another one. It may answer until its last
        // moment, and whoever then asks once more is told that it went away.
        poll(&mut [PollFd::new(&ended, PollFlags::IN)], None).unwrap();
        user.run(&["ls"]);
    }
}

#[test]
fn commands_that_start_it_at_once_share_one() {
    let user = User::new();
    for _ in 0..3 {
        let commands: Vec<_> = (0..8)
            .map(|_| user.0.banger(&["ls"]).stdout(Stdio::piped()).spawn().unwrap())
            .collect();
        for command in commands {
            succeed(command);
        }
        let log = std::fs::read_to_string(user.0.path("home/.local/state/banger/bangerd.log"));
        let starts = log.unwrap().lines().filter(|line| line.contains("daemon starts")).count();
        assert_eq!(starts, 1);
        user.run(&["daemon", "stop"]);
        std::fs::remove_file(user.0.path("home/.local/state/banger/bangerd.log")).unwrap();
    }
}

#[test]
fn of_daemons_started_at_once_one_serves_and_the_others_say_so() {
    let user = User::new();
    let mut daemons: Vec<_> = (0..4).map(|_| user.daemon()).collect();
    let mut serving = None;
    for daemon in &mut daemons {
        let mut said = String::new();
        daemon.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        if said == "ready\n" {
            assert_eq!(serving.replace(daemon.id().cast_signed()), None);
        } else {
            // `timeout` would mean that it had waited for an end that does not come.
            let problem: Value = serde_json::from_str(&said).unwrap();
            assert_eq!(problem["code"], "conflict", "{problem}");
            assert!(!daemon.wait().unwrap().success());
        }
    }
    assert_eq!(serving, Some(user.pid()));
    user.run(&["daemon", "stop"]);
    let mut ends = daemons.iter_mut().map(|daemon| daemon.wait().unwrap());
    assert!(ends.any(|end| end.success()));
}
