//! Sessions on a terminal: a pseudo-terminal that this test holds the other end of.

use std::fs::File;
use std::io::{PipeWriter, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use banger_proto::api::StateName;
use insta::assert_snapshot;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::fake::{DEADLINE, Fake};
use crate::host::Host;

/// A terminal with a program on it.
pub(crate) struct Terminal {
    keyboard: File,
    /// The program's side, kept to look at its modes.
    line: OwnedFd,
    screen: Receiver<Vec<u8>>,
    shown: String,
    reader: JoinHandle<()>,
    /// The reader ends when this goes.
    stop: PipeWriter,
}

impl Terminal {
    pub(crate) fn open() -> Self {
        // No program gets the other end: it would keep its own terminal from hanging up.
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let line = ioctl_tiocgptpeer(&master, flags).unwrap();
        let keyboard = File::from(master);
        let output = keyboard.try_clone().unwrap();
        let (sender, screen) = channel();
        let (stopped, stop) = std::io::pipe().unwrap();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            let mut either =
                [PollFd::new(&output, PollFlags::IN), PollFd::new(&stopped, PollFlags::IN)];
            while poll(&mut either, None).is_ok() && either[1].revents().is_empty() {
                let Ok(read @ 1..) = (&output).read(&mut buffer) else { break };
                if sender.send(buffer[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        let terminal = Self { keyboard, line, screen, shown: String::new(), reader, stop };
        terminal.resize(24, 80);
        terminal
    }

    pub(crate) fn resize(&self, rows: u16, cols: u16) {
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.line, size).unwrap();
    }

    pub(crate) fn start(&self, mut command: Command) -> Child {
        let end = || self.line.try_clone().unwrap();
        command.env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end()).spawn().unwrap()
    }

    /// Runs a program to its end; what it showed, and its exit code.
    pub(crate) fn run(&mut self, command: Command) -> (String, Option<i32>) {
        const END: &str = "<the end>";
        let code = self.start(command).wait().unwrap().code();
        // What is written last is shown last.
        rustix::io::write(&self.line, END.as_bytes()).unwrap();
        let shown = self.wait_for(END);
        (shown.trim_end_matches(END).to_owned(), code)
    }

    pub(crate) fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    /// Waits until the screen has shown `text` and gives what came up to its end.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.shown.find(text) {
                let rest = self.shown.split_off(at + text.len());
                return std::mem::replace(&mut self.shown, rest);
            }
            let more = self.screen.recv_timeout(DEADLINE);
            let more = more.unwrap_or_else(|_| panic!("no `{text}` in {:?}", self.shown));
            self.shown.push_str(&String::from_utf8_lossy(&more));
        }
    }

    /// What has come since it was asked last, waiting until `until` or for something.
    pub(crate) fn receive(&mut self, until: Instant) -> Option<Vec<u8>> {
        self.screen.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }

    /// Closes it, as the window of a terminal is closed.
    pub(crate) fn hang_up(self) {
        let Self { keyboard, reader, stop, .. } = self;
        drop(stop);
        // The terminal hangs up when nobody has this end any more.
        reader.join().unwrap();
        drop(keyboard);
    }

    pub(crate) fn is_raw(&self) -> bool {
        !tcgetattr(&self.line).unwrap().local_modes.contains(LocalModes::ICANON)
    }
}

#[test]
fn a_shell_has_the_terminal() {
    let host = Host::new();
    let fake = Fake::start(&host);
    let mut terminal = Terminal::open();
    let mut child = terminal.start(host.banger(&["run", "--name", "web"]));
    let before = terminal.wait_for("shell 80x24");
    assert!(before.contains("spec: 2 vcpu | 2048 MiB"), "{before:?}");
    assert!(before.contains("note: 3 untracked files stay behind"), "{before:?}");
    assert!(before.contains("ready in 0.8s"), "{before:?}");
    assert!(terminal.is_raw());

    // Ctrl-C is a byte for the guest, not a signal for us.
    terminal.press(b"\x03");
    terminal.wait_for("[3]");
    terminal.resize(40, 100);
    kill_process(Pid::from_child(&child), Signal::WINCH).unwrap();
    terminal.wait_for("now 100x40");

    terminal.press(b"q");
    assert_eq!(child.wait().unwrap().code(), Some(5));
    assert!(!terminal.is_raw());
    let after = terminal.wait_for("banger rm web\x1b[0m").replace('\r', "");
    assert_snapshot!(after.trim_start().replace('\x1b', "ESC"), @r"
    ESC[2mVM `web` is still running.
      enter it again:  banger exec web
      stop it:         banger vm stop web
      delete it:       banger rm webESC[0m
    ");
    assert!(fake.log()[1].contains(r#""env":{"TERM":"xterm"}"#), "{:#?}", fake.log());
}

#[test]
fn every_way_out_restores_the_terminal() {
    let host = Host::new();
    let fake = Fake::start(&host).with("aabbccddeeff", "web", StateName::Running);
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130)] {
        let mut terminal = Terminal::open();
        let mut child = terminal.start(host.banger(&["exec", "web"]));
        terminal.wait_for("shell");
        assert!(terminal.is_raw());
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(!terminal.is_raw());
    }
    fake.wait_for("shell was hung up on");
}

#[test]
fn two_keys_leave_a_job_that_goes_on() {
    let host = Host::new();
    let fake = Fake::start(&host).with("aabbccddeeff", "web", StateName::Running);
    let mut terminal = Terminal::open();
    let mut child = terminal.start(host.banger(&["vm", "attach", "web", "d"]));
    terminal.wait_for("asleep");
    assert!(terminal.is_raw());
    // Each of them is the job's, and so is Ctrl-C.
    terminal.press(b"\x11\x03");
    terminal.wait_for("\x11\x03");
    terminal.press(b"\x10x");
    terminal.wait_for("\x10x");
    terminal.press(b"\x10");
    terminal.press(b"\x11");
    let last = terminal.wait_for("goes on");
    assert!(last.contains("detached; job dddddddddddd"), "{last:?}");
    assert!(!last.contains(['\x10', '\x11']), "the keys are nobody's: {last:?}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!terminal.is_raw());
    fake.wait_for("attach ended");
    // Neither its input was ended nor was it sent a signal.
    let log = fake.log();
    assert!(!log.iter().any(|line| line == "got Signal" || line == "input ended"), "{log:#?}");
}

#[test]
fn a_hangup_does_not_keep_an_ephemeral_vm() {
    let host = Host::new();
    let fake = Fake::start(&host);
    let mut terminal = Terminal::open();
    let mut child = terminal.start(host.banger(&["run", "--rm", "--name", "web"]));
    terminal.wait_for("shell");
    kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(129));
    fake.wait_for("create stream closed");
    assert!(fake.log().contains(&"delete web".to_owned()));
}

#[test]
fn logs_cannot_drive_the_terminal() {
    let host = Host::new();
    let _fake = Fake::start(&host).with("aabbccddeeff", "web", StateName::Running);
    let mut terminal = Terminal::open();
    let mut child = terminal.start(host.banger(&["vm", "logs", "web"]));
    assert_eq!(terminal.wait_for("red\r\n"), "console of web, follow=false\r\nred\r\n");
    assert!(child.wait().unwrap().success());
    // Unless that is what is wanted.
    let mut child = terminal.start(host.banger(&["vm", "logs", "--raw", "web"]));
    terminal.wait_for("\x1b[31mred\x1b[0m\r\n");
    assert!(child.wait().unwrap().success());
}

#[test]
fn watched_stats_are_drawn_in_place() {
    let host = Host::new();
    let _fake = Fake::start(&host).with("aabbccddeeff", "web", StateName::Running).with(
        "aacc00000000",
        "db",
        StateName::Stopped,
    );
    let mut terminal = Terminal::open();
    let mut child = terminal.start(host.banger(&["vm", "stats", "--watch"]));
    let first = terminal.wait_for("1.2 GiB/8 GiB\r\n").replace('\r', "");
    assert_snapshot!(first, @r"
    NAME  STATE    HOST CPU  HOST MEM  CPU    MEM            DISK
    web   running  101.6%    200 MiB   99.0%  150 MiB/2 GiB  1 MiB/1 GiB
    db    stopped  -         -         -      -/2 GiB        1.2 GiB/8 GiB
    ");
    // Over the three lines before.
    let second = terminal.wait_for("MiB/1 GiB\r\n").replace('\r', "").replace('\x1b', "ESC");
    assert_snapshot!(second, @r"
    ESC[3AESC[JNAME  STATE    HOST CPU  HOST MEM  CPU    MEM            DISK
    web   running  101.6%    200 MiB   99.0%  150 MiB/2 GiB  1 MiB/1 GiB
    ");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    child.wait().unwrap();
}

#[test]
fn colour_follows_the_terminal_and_the_wishes() {
    let host = Host::new();
    let _fake = Fake::start(&host);
    let show = |args: &[&str], no_color: bool| {
        let mut terminal = Terminal::open();
        let mut command = host.banger(args);
        if no_color {
            command.env("NO_COLOR", "1");
        }
        let mut child = terminal.start(command);
        let shown = terminal.wait_for("web");
        child.wait().unwrap();
        shown
    };
    assert!(show(&["vm", "show", "web"], false).starts_with("\x1b[1m\x1b[31mbanger:"));
    assert!(show(&["vm", "show", "web"], true).starts_with("banger:"));
    assert!(show(&["--color", "never", "vm", "show", "web"], false).starts_with("banger:"));
    assert!(show(&["--color", "always", "vm", "show", "web"], true).starts_with("\x1b[1m"));
}
