//! `banger top` on a terminal, by what is to be seen on it: a screen that understands what it is sent.

use std::num::NonZero;
use std::process::{Child, Command};
use std::time::Instant;

use banger_proto::api::StateName;
use insta::assert_snapshot;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::fake::{DEADLINE, Fake};
use crate::host::Host;
use crate::terminal::Terminal;

/// A terminal with its screen, and the program on it.
struct Seen {
    terminal: Terminal,
    screen: vt100::Parser,
    child: Child,
}

impl Seen {
    /// Starts it and waits until it has drawn `text`.
    fn start(host: &Host, (rows, cols): (u16, u16), text: &str) -> Self {
        Self::start_with(host, (rows, cols), text, &[])
    }

    fn start_with(
        host: &Host,
        (rows, cols): (u16, u16),
        text: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        let mut command = host.banger(&["top"]);
        command.envs(variables.iter().copied());
        Self::start_command(command, (rows, cols), text)
    }

    fn start_command(command: Command, (rows, cols): (u16, u16), text: &str) -> Self {
        let terminal = Terminal::open();
        terminal.resize(rows, cols);
        let child = terminal.start(command);
        let mut seen =
            Self { terminal, screen: vt100::Parser::new(size(rows), size(cols), 0), child };
        seen.wait_for(text);
        assert!(seen.screen.screen().alternate_screen() && seen.terminal.is_raw());
        seen
    }

    /// Waits until the screen is as `wanted` says.
    fn wait_until(&mut self, what: &str, wanted: impl Fn(&vt100::Screen) -> bool) {
        let until = Instant::now() + DEADLINE;
        while !wanted(self.screen.screen()) {
            let Some(bytes) = self.terminal.receive(until) else {
                panic!("no {what} on\n{}", self.text());
            };
            self.screen.process(&bytes);
        }
    }

    /// Waits until `text` is to be seen.
    fn wait_for(&mut self, text: &str) {
        self.wait_until(text, |screen| screen.contents().contains(text));
    }

    /// Waits until nothing but these lines is to be seen. Pictures come in pieces: only a whole one can be
    /// compared.
    fn wait_to_be(&mut self, lines: &[&str]) {
        let wanted = lines.join("\n");
        self.wait_until(&wanted, |screen| text_of(screen) == wanted);
    }

    /// Waits until `text` is not to be seen any more.
    fn wait_without(&mut self, text: &str) {
        self.wait_until(&format!("screen without {text}"), |s| !s.contents().contains(text));
    }

    fn text(&self) -> String {
        text_of(self.screen.screen())
    }

    fn press(&mut self, keys: &str) {
        self.terminal.press(keys.as_bytes());
    }

    fn resize(&mut self, rows: u16, cols: u16) {
        self.terminal.resize(rows, cols);
        self.screen.screen_mut().set_size(size(rows), size(cols));
        kill_process(Pid::from_child(&self.child), Signal::WINCH).unwrap();
    }

    /// Closes the terminal, and waits for the end; gives the exit code.
    fn hang_up(mut self) -> Option<i32> {
        let process = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).unwrap();
        std::mem::replace(&mut self.terminal, Terminal::open()).hang_up();
        let deadline = Timespec::try_from(DEADLINE).unwrap();
        let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&deadline)).unwrap();
        assert_eq!(ended, 1, "it goes on without a terminal");
        self.child.wait().unwrap().code()
    }

    /// Waits for its end, after which the terminal is as it was; gives the exit code and what is then
    /// to be seen.
    fn end(mut self) -> (Option<i32>, String) {
        self.wait_until("end", |screen| !screen.alternate_screen() && !screen.hide_cursor());
        let code = self.child.wait().unwrap().code();
        assert!(!self.screen.screen().bracketed_paste());
        assert!(!self.terminal.is_raw());
        (code, self.text())
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        // One that a failed test leaves behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is to be seen, without the blanks at the ends of lines.
fn text_of(screen: &vt100::Screen) -> String {
    screen.contents().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn size(cells: u16) -> NonZero<u16> {
    NonZero::new(cells).unwrap()
}

fn two(host: &Host) -> Fake {
    Fake::start(host).with("aabbccddeeff", "web", StateName::Running).with(
        "aacc00000000",
        "db",
        StateName::Running,
    )
}

#[test]
fn vms_are_shown_as_they_change() {
    let host = Host::new();
    let fake = two(&host);
    let mut seen = Seen::start(&host, (17, 80), "http://127.77.0.5:8080");
    // The second report has the first VM only, and is the last one.
    seen.wait_for("host CPU 101.6%");
    seen.wait_to_be(&[
        "banger top  2 VMs, 2 running  host CPU 101.6%  host MEM 200 MiB",
        "  NAME  STATE    IMAGE            CPU    MEM            DISK           AGE",
        "> web   running  debian-bookworm  99.0%  150 MiB/2 GiB  1 MiB/1 GiB    0s",
        "  db    running  debian-bookworm  -      -/2 GiB        1.2 GiB/8 GiB  0s",
        "",
        "-- ports of web ----------------------------------------------------------------",
        "tcp 80  nginx  http://127.77.0.5:8080",
        "tcp 5432  postgres  (`127.77.0.5:5432` is taken on the host)",
        "udp 53  resolver  (UDP is not forwarded)",
        "-- events ----------------------------------------------------------------------",
        "",
        "",
        "",
        "",
        "",
        "",
        "Enter shell  l logs  s start/stop  p pause  d delete  / filter  ? help  q quit",
    ]);
    fake.bring("db", StateName::Stopping);
    seen.wait_for("db    stopping");
    fake.bring("db", StateName::Stopped);
    seen.wait_for("db    stopped");
    seen.wait_for("2 VMs, 1 running");
    assert!(seen.text().contains(" db stopping"), "{}", seen.text());
    seen.press("q");
    assert_eq!(seen.end(), (Some(0), String::new()));
    // Looking is all that was done.
    let asked: Vec<String> = fake.log();
    let looks = |line: &String| line.starts_with("stats") || line.starts_with("events");
    assert!(asked.iter().all(looks), "{asked:#?}");
}

#[test]
fn keys_do_what_they_say_to_the_chosen_vm() {
    let host = Host::new();
    let fake = two(&host).with("dd0000000000", "stuck", StateName::Running);
    let mut seen = Seen::start(&host, (24, 80), "> web ");
    seen.press("j");
    seen.wait_for("> db ");
    seen.press("s");
    fake.wait_for("stop db {\"grace_seconds\":null}");
    seen.wait_for("stopping db");
    seen.press("\x1b[Bp");
    fake.wait_for("pause stuck");

    // Deleting asks first, and what is no yes deletes nothing.
    seen.press("d");
    seen.wait_for("Delete VM `stuck` with its disk, for good? [y/N]");
    seen.press("n");
    seen.wait_without("for good?");
    seen.press("d");
    seen.wait_for("for good?");
    assert!(!fake.log().iter().any(|line| line.starts_with("delete")), "{:#?}", fake.log());
    seen.press("y");
    fake.wait_for("delete stuck");
    seen.wait_for("cannot remove the disk of `stuck`");
    seen.wait_for("caused by: permission denied");

    seen.press("kd");
    seen.wait_for("Delete VM `db`");
    seen.press("y");
    seen.wait_for("db deleted");
    seen.wait_for("2 VMs, 2 running");
    fake.bring("web", StateName::Stopped);
    seen.wait_for("web    stopped");
    seen.press("gp");
    seen.wait_for("web does not run");
    seen.press("s");
    seen.wait_for("starting web");
    // Once asks whether to break that off, if it is not done yet.
    seen.press("\x03\x03");
    assert_eq!(seen.end().0, Some(0));
}

#[test]
fn what_is_pasted_does_nothing() {
    let host = Host::new();
    let fake = two(&host);
    let mut seen = Seen::start(&host, (24, 80), "> web ");
    assert!(seen.screen.screen().bracketed_paste());
    seen.press("\x1b[200~sdyq\x1b[201~j");
    seen.wait_for("> db ");
    seen.press("q");
    assert_eq!(seen.end().0, Some(0));
    assert!(!fake.log().iter().any(|line| line.starts_with("stop")), "{:#?}", fake.log());
}

#[test]
fn a_shell_has_the_terminal_and_gives_it_back() {
    let host = Host::new();
    let fake = two(&host);
    let mut seen = Seen::start(&host, (24, 80), "> web ");
    seen.press("j\r");
    seen.wait_for("shell 80x24");
    assert!(!seen.screen.screen().alternate_screen());
    assert!(seen.terminal.is_raw());
    // Keys are the shell's, and the picture is that of now afterwards.
    seen.press("s");
    seen.wait_for("[115]");
    fake.bring("web", StateName::Stopped);
    seen.press("q");
    seen.wait_for("> db ");
    assert!(seen.screen.screen().alternate_screen());
    seen.wait_for("shell in db ended with 5");
    seen.wait_for("web   stopped");
    assert!(!fake.log().iter().any(|line| line.starts_with("stop")), "{:#?}", fake.log());
    seen.press("q");
    assert_eq!(seen.end().0, Some(0));
}

#[test]
fn a_signal_to_a_shell_ends_it_all() {
    let host = Host::new();
    let _fake = two(&host);
    let mut seen = Seen::start(&host, (24, 80), "> web ");
    seen.press("e");
    seen.wait_for("shell 80x24");
    kill_process(Pid::from_child(&seen.child), Signal::TERM).unwrap();
    assert_eq!(seen.end().0, Some(143));
}

#[test]
fn a_console_is_followed_and_left() {
    let host = Host::new();
    let _fake = two(&host);
    let mut seen = Seen::start(&host, (8, 60), "> web ");
    seen.press("l");
    seen.wait_for("ended: the VM is down");
    seen.wait_to_be(&[
        "console of web  ended: the VM is down",
        "console of aabbccddeeff, follow=true&tail=500",
        "red",
        "",
        "",
        "",
        "",
        "arrows, PgUp, PgDn move  q back",
    ]);
    // Without its colour, which was red.
    assert_eq!(seen.screen.screen().cell(2, 0).unwrap().fgcolor(), vt100::Color::Default);
    seen.press("\x1b");
    seen.wait_for("> web ");
    seen.press("q");
    assert_eq!(seen.end().0, Some(0));
}

#[test]
fn the_picture_has_the_size_of_the_terminal() {
    let host = Host::new();
    let _fake = two(&host);
    let mut seen = Seen::start(&host, (24, 100), "> web ");
    seen.wait_for("host CPU 101.6%");
    seen.resize(10, 40);
    seen.wait_without("IMAGE");
    seen.wait_to_be(&[
        "2 VMs, 2 running  host CPU 101.6%",
        "  NAME  STATE    CPU    MEM",
        "> web   running  99.0%  150 MiB/2 GiB",
        "  db    running  -      -/2 GiB",
        "-- events ------------------------------",
        "",
        "",
        "",
        "",
        "Enter shell  ? help  q quit",
    ]);
    seen.resize(24, 100);
    seen.wait_for("IMAGE");
    seen.press("q");
    assert_eq!(seen.end().0, Some(0));
}

#[test]
fn a_daemon_that_went_away_is_waited_for() {
    let host = Host::new();
    let fake = two(&host);
    let mut seen = Seen::start(&host, (24, 80), "> web ");
    drop(fake);
    seen.wait_for("the daemon is away, trying again:");
    assert!(seen.text().contains("> web "), "{}", seen.text());
    std::fs::remove_file(host.socket()).unwrap();
    let fake = Fake::start(&host).with("aacc00000000", "db", StateName::Paused);
    seen.wait_for("1 VM, 0 running");
    seen.wait_for("> db    paused");
    seen.press("p");
    fake.wait_for("resume db");
    // It is told where this one left off.
    fake.wait_for("events since=0");
    seen.press("q");
    assert_eq!(seen.end().0, Some(0));
}

#[test]
fn every_way_out_restores_the_terminal() {
    let host = Host::new();
    let _fake = two(&host);
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130)] {
        let mut seen = Seen::start(&host, (24, 80), "> web ");
        kill_process(Pid::from_child(&seen.child), signal).unwrap();
        seen.wait_for("banger: ended by a signal; the VMs go on");
        assert_eq!(seen.end().0, Some(code), "{signal:?}");
    }
}

/// A terminal that goes is told by a signal to those whose own it is, and by nothing but its end to others.
#[test]
fn a_terminal_that_hangs_up_ends_it() {
    let host = Host::new();
    let _fake = two(&host);
    let owner = || {
        let banger = host.banger(&["top"]);
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(banger.get_program()).args(banger.get_args()).env_clear();
        let set = banger.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.envs(set).current_dir(host.path("home"));
        Seen::start_command(command, (24, 80), "> web ")
    };
    // Whichever of the two is noticed first.
    let code = owner().hang_up();
    assert!(matches!(code, Some(1 | 129)), "{code:?}");
    let mut shell = owner();
    shell.press("e");
    shell.wait_for("shell 80x24");
    let code = shell.hang_up();
    assert!(matches!(code, Some(1 | 129)), "{code:?}");
    assert_eq!(Seen::start(&host, (24, 80), "> web ").hang_up(), Some(1));
}

#[test]
fn colour_follows_the_wishes() {
    let host = Host::new();
    let fake = Fake::start(&host).with("aabbccddeeff", "web", StateName::Paused).with(
        "aacc00000000",
        "db",
        StateName::Running,
    );
    let colour = |variables: &[(&str, &str)]| {
        let mut seen = Seen::start_with(&host, (24, 80), "db    running", variables);
        let (row, column) = (3, 8);
        let cell = seen.screen.screen().cell(row, column).unwrap().clone();
        assert_eq!(cell.contents(), "r", "{}", seen.text());
        seen.press("q");
        assert_eq!(seen.end().0, Some(0));
        cell.fgcolor()
    };
    assert_eq!(colour(&[]), vt100::Color::Idx(2));
    assert_eq!(colour(&[("NO_COLOR", "1")]), vt100::Color::Default);
    drop(fake);
}

#[test]
fn without_a_terminal_there_is_another_way() {
    let host = Host::new();
    assert_snapshot!(host.run(&["top"]), @r"
    -- stderr
    banger: `banger top` needs a terminal, and this is none to draw on
      hint: the VMs as a list: banger vm ls
      hint: what they use, line by line: banger vm stats --watch
    -- exit 2
    ");
    // Not even a daemon was started for it.
    assert!(!host.socket().exists());
}
