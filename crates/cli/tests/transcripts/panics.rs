//! Whatever is typed, the program answers: nothing on a command line makes it panic.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::process::Stdio;

use banger_proto::api::StateName;
use clap::Command;

use crate::examples::walk;
use crate::fake::Fake;
use crate::host::Host;
use crate::terminal::Terminal;

/// Texts at the ends of what numbers, sizes, names, paths and characters can be.
const ODD: &[&str] = &[
    "",
    " ",
    "-",
    "--",
    "0",
    "-1",
    "+1",
    "1.5",
    "65535",
    "65536",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "18446744073709551616",
    "18446744073709551615T",
    "16777216T",
    "1é",
    "é",
    "éG",
    "T",
    "0s",
    "4294967295h",
    "71582789m",
    ":",
    "::",
    ":::",
    "1:",
    ":1",
    "65535:65535",
    "0:0",
    "[",
    "[]",
    "[::]:1:1",
    "[::1",
    "1.2.3.4:1",
    "=",
    "=x",
    "a=",
    "a=é",
    "/",
    "..",
    ".",
    "~",
    "a:",
    ":a",
    "é:é",
    "SIG",
    "RTMIN+255",
    "RTMAX-255",
    "SIGRTMIN+99999999999",
    "\u{1b}[2J",
    "{}",
    "%s",
    "\n",
    "@",
    "x@sha256:",
    "localhost:",
    "\u{202e}",
    "\u{10ffff}",
    "off",
];

/// Those, some that are long, and one that is not UTF-8.
fn odd() -> Vec<OsString> {
    let mut all: Vec<OsString> = ODD.iter().map(OsString::from).collect();
    all.extend(["1", "é"].map(|text| text.repeat(300).into()));
    all.push(OsStr::from_bytes(b"\xff").to_owned());
    all.push(OsStr::from_bytes(b"a:\xff").to_owned());
    all
}

/// Every option and argument of every command is given everything that is odd.
#[test]
fn no_value_makes_the_grammar_panic() {
    let odd = odd();
    let mut tried = 0;
    walk(&banger_cli::command(), "banger", &mut |_, command: &Command| {
        let mut command = command.clone();
        let flags = command.get_arguments().filter(|arg| arg.get_action().takes_values());
        let flags: Vec<_> = flags.filter_map(|arg| arg.get_long().map(str::to_owned)).collect();
        for value in &odd {
            for flag in &flags {
                let mut together = OsString::from(format!("--{flag}="));
                together.push(value);
                let line = [OsString::from("banger"), together];
                tried += 1;
                // Taken or refused.
                let _ = command.try_get_matches_from_mut(line);
            }
            for count in 1..=2 {
                let line = std::iter::once(OsString::from("banger"));
                let values = std::iter::repeat_n(value.clone(), count);
                let _ = command.try_get_matches_from_mut(line.chain(values));
            }
        }
    });
    assert!(tried > 5000, "only {tried} values were tried");
}

/// Runs a command line and gives what it wrote; its exit code has to be one that banger has.
fn say(host: &Host, words: &[OsString]) -> String {
    let mut command = host.banger(&[]);
    let output = command.args(words).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code();
    assert!(!said.contains("panicked"), "{words:?}: {said}");
    assert!(code.is_some_and(|code| code != 101), "{words:?}: {:?}", output.status);
    said
}

/// What the grammar takes reaches the commands: those are run, too.
#[test]
fn no_argument_makes_a_command_panic() {
    let host = Host::new();
    let _fake = Fake::start(&host).with("aabbccddeeff", "web", StateName::Running);
    let mut lines = Vec::new();
    walk(&banger_cli::command(), "", &mut |words, command| {
        // What changes the host, and what waits for a server of SSH, is for others to try.
        let elsewhere = [" system install", " system uninstall", " system restart", " ssh"];
        let skipped = elsewhere.iter().any(|command| words.ends_with(command));
        if !command.has_subcommands() && !skipped {
            lines.push(words.trim().to_owned());
        }
    });
    assert!(lines.len() > 50, "{lines:?}");
    let endings: [&[&[u8]]; 3] =
        [&[b"web", "é:\u{1b}".as_bytes()], &[b"\xff"], &[b"web", b"web:/", b"--", b"exit", b"0"]];
    for line in lines {
        for ending in endings {
            let words = line.split(' ').map(OsString::from);
            let ending = ending.iter().map(|word| OsStr::from_bytes(word).to_owned());
            say(&host, &words.chain(ending).collect::<Vec<_>>());
        }
    }
}

#[test]
fn limits_of_numbers_are_no_trouble() {
    let host = Host::new();
    let fake = Fake::start(&host).with("aabbccddeeff", "web", StateName::Running);
    fake.change("web", |vm| {
        let json = serde_json::json!({ "state": "running", "cause": "start", "took_ms": u64::MAX,
            "at": "-009999-01-01T00:00:00Z" });
        vm.history = vec![serde_json::from_value(json).unwrap()];
        vm.memory = serde_json::from_value(u64::MAX.into()).unwrap();
        vm.disk_size = vm.memory;
        vm.disk_used = vm.memory;
        vm.created_at = "9999-12-31T23:59:59Z".into();
    });
    for line in [
        "ls",
        "vm show web",
        "vm create --memory 16777215T --disk-size 16777215T --vcpu 4294967295",
        "vm wait --timeout 4294967295 web",
        "vm ping -t 4294967295 web",
        "vm stop -t 4294967295 web",
        "vm logs --tail 4294967295 web",
        "vm set --memory 16777215T web",
        "vm create --idle-stop 1193046h",
        "vm job logs --tail 4294967295 web aaaa",
        "vm fork web -n 64",
        "vm prune -f",
    ] {
        let words: Vec<_> = line.split(' ').map(OsString::from).collect();
        say(&host, &words);
    }
    std::fs::create_dir_all(host.path("home/.local/state/banger")).unwrap();
    std::fs::write(host.path("home/.local/state/banger/bangerd.log"), "é\n\n{\"level\":1}\n")
        .unwrap();
    say(&host, &["daemon", "logs", "--tail", "4294967295"].map(OsString::from));
}

/// The surroundings may be odd, too: no arguments at all, completion of what is not there, a
/// directory that is gone, terminals without room.
#[test]
fn odd_surroundings_are_no_trouble() {
    let host = Host::new();
    let _fake = Fake::start(&host).with("aabbccddeeff", "web", StateName::Running);
    for (shell, index) in
        [("bash", "99"), ("bash", "-1"), ("zsh", "x"), ("nonsense", "0"), ("fish", "0")]
    {
        for words in [&["--"][..], &["--", "banger", "vm", "é"], &[]] {
            let mut command = host.banger(words);
            let output =
                command.env("COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", index).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!said.contains("panicked"), "{shell} {index} {words:?}: {said}");
        }
    }
    let gone = host.path("home/gone");
    std::fs::create_dir(&gone).unwrap();
    for words in [&["run", "."][..], &["vm", "cp", "web:x", "."], &["ls"]] {
        let line = "cd \"$1\" && rmdir \"$1\" && shift && exec \"$@\"";
        let program = env!("CARGO_BIN_EXE_banger");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", line, "sh"]).arg(&gone).arg(program).args(words).env_clear();
        command.env("HOME", host.path("home")).env("XDG_RUNTIME_DIR", host.path("run"));
        command.env("PATH", "/usr/bin:/bin");
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("panicked"), "{words:?}: {said}");
        std::fs::create_dir_all(&gone).unwrap();
    }
    let mut terminal = Terminal::open();
    for (rows, columns) in [(0, 0), (1, 1), (u16::MAX, u16::MAX)] {
        terminal.resize(rows, columns);
        for words in [&["vm", "create"][..], &["image", "pull", "x"], &["vm", "start", "web"]] {
            let (shown, _) = terminal.run(host.banger(words));
            assert!(!shown.contains("panicked"), "{rows}x{columns} {words:?}: {shown}");
        }
    }
}
