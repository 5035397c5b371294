//! `banger top` in front of a real VM, by what is to be seen on its terminal.

use std::num::NonZero;
use std::time::{Duration, Instant};

use banger_e2e::{Home, Terminal};

use crate::upgrade::{earlier_build, run};

const ROWS: u16 = 30;
const COLS: u16 = 120;

/// How long anything may take to be seen: the whole boot of a guest, in software on a busy host.
const DEADLINE: Duration = Duration::from_secs(300);

/// A terminal with its screen.
struct Seen {
    terminal: Terminal,
    screen: vt100::Parser,
}

impl Seen {
    /// Waits until the screen is as `wanted` says.
    #[track_caller]
    fn wait_until(&mut self, what: &str, wanted: impl Fn(&vt100::Screen) -> bool) {
        let until = Instant::now() + DEADLINE;
        while !wanted(self.screen.screen()) {
            let Some(bytes) = self.terminal.receive(until) else {
                panic!("no {what} on\n{}", self.screen.screen().contents());
            };
            self.screen.process(&bytes);
        }
    }

    /// Waits until `text` is to be seen.
    #[track_caller]
    fn wait_for(&mut self, text: &str) {
        self.wait_until(text, |screen| screen.contents().contains(text));
    }

    /// Waits until the first line says `count` and that of the chosen VM has all of `parts`.
    #[track_caller]
    fn wait_for_vm(&mut self, count: &str, parts: &[&str]) {
        self.wait_until(&format!("{count}, {parts:?}"), |screen| {
            let text = screen.contents();
            let vm = text.lines().find(|line| line.starts_with("> web "));
            screen.alternate_screen()
                && text.lines().next().is_some_and(|first| first.contains(count))
                && vm.is_some_and(|vm| parts.iter().all(|part| vm.contains(part)))
        });
    }

    fn press(&mut self, keys: &str) {
        self.terminal.type_text(keys);
    }
}

#[test]
fn a_vm_is_watched_and_worked_on() {
    let home = Home::new();
    let old = earlier_build(&home);
    let vm = "web";
    run(&home, &old, &["vm", "create", "--name", vm, "--memory", "512M"]);
    let daemon = run(&home, &old, &["daemon", "status", "--json"]).json()["pid"].clone();
    let state = || home.show(vm)["state"].clone();
    // As at a shell, where it matters how the terminal is left.
    let script = r#"echo "modes $(stty -g)"; "$1" top; echo "ended with $?"; echo "modes $(stty -g)"; echo over"#;
    let mut shell = home.command("sh");
    shell.args(["-c", script, "sh"]).arg(&old);
    let terminal = Terminal::start(&shell, ROWS, COLS);
    let size = |cells| NonZero::new(cells).expect("a size");
    let mut seen = Seen { terminal, screen: vt100::Parser::new(size(ROWS), size(COLS), 0) };

    seen.wait_for_vm("1 VM, 1 running", &["running", "%", "MiB/"]);
    seen.wait_for("host CPU ");
    seen.wait_for("host MEM ");
    // Once ports are told, nothing more is asked for half a minute.
    seen.wait_until("ports", |screen| {
        let text = screen.contents();
        let ports = text.lines().skip_while(|line| !line.starts_with("-- ports of web ")).nth(1);
        ports.is_some_and(|first| !["", "..."].contains(&first.trim()))
    });

    // Looking does not keep an earlier daemon, and goes on with the next one.
    assert_eq!(state(), "running");
    assert_ne!(i64::from(home.daemon_pid()), daemon.as_i64().expect("a pid"));

    seen.press("s");
    seen.wait_for_vm("1 VM, 0 running", &["stopped", " -/512 MiB"]);
    assert_eq!(state(), "stopped");
    seen.press("s");
    seen.wait_for_vm("1 VM, 1 running", &["running", "%", "MiB/"]);
    assert_eq!(state(), "running");

    // A shell has the screen from before, and its end brings the picture back.
    seen.press("\r");
    seen.wait_until("prompt", |screen| {
        !screen.alternate_screen() && screen.contents().trim_end().ends_with('#')
    });
    assert!(!seen.screen.screen().hide_cursor());
    seen.press("echo $((40+2)) in $(hostname); stty size\r");
    seen.wait_for("42 in web");
    seen.wait_for(&format!("{ROWS} {COLS}"));
    seen.press("exit 3\r");
    seen.wait_for("shell in web ended with 3");
    seen.wait_for_vm("1 VM, 1 running", &["running", "%", "MiB/"]);

    // Its console, with what is written to it now.
    seen.press("l");
    seen.wait_for("console of web");
    home.exec(vm, &["sh", "-c", "echo written-$((40+2)) >/dev/console"]).expect_code(0);
    seen.wait_for("written-42");
    seen.press("q");

    seen.wait_for_vm("1 VM, 1 running", &["running"]);
    seen.press("p");
    seen.wait_for_vm("1 VM, 0 running", &["paused"]);
    seen.press("p");
    seen.wait_for_vm("1 VM, 1 running", &["running"]);
    seen.press("d");
    seen.wait_for("Delete VM `web` with its disk, for good? [y/N]");
    seen.press("y");
    seen.wait_for("no VMs: ");
    seen.wait_for("web deleted");
    assert!(home.list().is_empty());

    seen.press("q");
    seen.wait_for("over");
    let screen = seen.screen.screen();
    assert!(!screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste());
    let text = screen.contents();
    assert!(text.contains("ended with 0"), "{text}");
    let modes: Vec<&str> = text.lines().filter(|line| line.starts_with("modes ")).collect();
    let [before, after] = modes[..] else { panic!("{text}") };
    assert_eq!(before, after);
    assert_eq!(seen.terminal.finish().0.code(), Some(0));
    home.expect_nothing_left();
}
