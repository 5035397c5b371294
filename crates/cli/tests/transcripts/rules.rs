//! What holds for every command alike, over the grammar and not over examples.

use std::process::{Command as Process, Stdio};

use clap::Command;

use crate::examples::walk;
use crate::fake::Fake;
use crate::host::Host;
use crate::json::{COMMANDS, with_everything, words};
use crate::terminal::Terminal;

/// All commands, groups included, by their words.
fn all_words() -> Vec<String> {
    let mut all = Vec::new();
    walk(&banger_cli::command(), "", &mut |words, _| all.push(words.trim().to_owned()));
    all
}

/// The command lines that show something and change nothing.
fn listings() -> Vec<Vec<&'static str>> {
    let shows = ["list", "show", "status", "ls", "ps", "stats", "ports", "health", "ping", "jobs"];
    let shown = COMMANDS.iter().filter(|command| {
        let last = command.words.rsplit(' ').next().unwrap_or_default();
        shows.contains(&last) || ["doctor", "daemon logs", "version"].contains(&command.words)
    });
    let mut found: Vec<_> =
        shown.flat_map(|command| [words(command, &[]), words(command, &["--json"])]).collect();
    // There is none on this host, which is told as a failure.
    found.retain(|words| *words != ["system", "status"]);
    found.push(["vm", "logs", "web"].into());
    found.push(["system", "gc", "--dry-run"].into());
    found
}

#[test]
fn help_is_ascii() {
    let mut wrong = Vec::new();
    walk(&banger_cli::command(), "banger", &mut |words, command| {
        let mut command: Command = command.clone();
        let texts =
            [command.render_help(), command.render_long_help()].map(|text| text.to_string());
        for line in texts.iter().flat_map(|text| text.lines()).filter(|line| !line.is_ascii()) {
            wrong.push(format!("`{words} --help`: {line}"));
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn tables_are_ascii_and_have_no_empty_cell() {
    let host = Host::new();
    let _fake = with_everything(&host);
    let mut tables = 0;
    for words in listings() {
        let shown = host.run(&words);
        // What is foreign and could act on a terminal is shown so, and comes from the fake.
        let own = shown.replace('\u{fffd}', "");
        assert!(own.is_ascii(), "{words:?}: {shown}");
        let result = shown.split("-- ").next().unwrap_or_default();
        let Some((headings, rows)) = result.split_once('\n') else { continue };
        let is_heading = |word: &str| word.chars().all(|letter| letter.is_ascii_uppercase());
        if !headings.split_whitespace().all(is_heading) {
            continue;
        }
        tables += 1;
        // A heading begins where the line does, or after two blanks.
        let begins = headings
            .char_indices()
            .filter(|(at, letter)| *letter != ' ' && (*at == 0 || headings[..*at].ends_with("  ")));
        let begins: Vec<usize> = begins.map(|(at, _)| at).collect();
        for row in rows.lines().take_while(|row| !row.is_empty()) {
            let cells = begins.iter().map(|at| row.chars().nth(*at));
            assert!(
                cells.clone().all(|cell| cell.is_some_and(|c| c != ' ')),
                "{words:?}:\n{shown}"
            );
        }
    }
    assert!(tables >= 8, "only {tables} tables were seen");
}

/// Runs `command` with nobody at the other end of its output, and gives what it says.
fn run_unread(mut command: Process) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let command = command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_reader_that_goes_early_ends_a_listing_without_a_word() {
    let host = Host::new();
    let _fake = with_everything(&host);
    for words in listings() {
        let (code, said) = run_unread(host.banger(&words));
        assert!(!said.contains("panicked") && !said.contains("banger:"), "{words:?}: {said}");
        assert_eq!(code, Some(141), "{words:?}: {said}");
    }
    for words in ["completion bash", "ssh-config"] {
        let words: Vec<&str> = words.split(' ').collect();
        let (code, said) = run_unread(host.banger(&words));
        assert_eq!((code, &*said), (Some(141), ""), "{words:?}");
    }
}

#[test]
fn a_reader_that_goes_early_ends_help_without_a_word() {
    let host = Host::new();
    for words in all_words() {
        let words: Vec<&str> = words.split_whitespace().chain(["--help"]).collect();
        assert_eq!(run_unread(host.banger(&words)), (Some(0), String::new()), "{words:?}");
    }
}

#[test]
fn a_narrow_terminal_shows_everything() {
    let host = Host::new();
    let _fake = with_everything(&host);
    let mut terminal = Terminal::open();
    terminal.resize(10, 40);
    for words in listings() {
        let wide = host.run(&words);
        let (shown, code) = terminal.run(host.banger(&words));
        assert!(!shown.contains("panicked"), "{words:?}: {shown}");
        assert!(wide.ends_with(&format!("-- exit {}", code.unwrap_or(-1))), "{words:?}: {shown}");
        assert!(!shown.trim().is_empty(), "{words:?}");
    }
    let lines =
        |terminal: &mut Terminal| terminal.run(host.banger(&["run", "-h"])).0.lines().count();
    let narrow = lines(&mut terminal);
    terminal.resize(10, 100);
    let wide = lines(&mut terminal);
    assert!(narrow > wide + 20, "{narrow} lines, and {wide} where there is room");
    // No room at all.
    for (rows, columns) in [(1, 1), (0, 0)] {
        terminal.resize(rows, columns);
        for words in [&["ls"][..], &["vm", "stats"], &["run", "--help"], &["vm", "delete"]] {
            let (shown, _) = terminal.run(host.banger(words));
            assert!(!shown.contains("panicked"), "{words:?}: {shown}");
        }
    }
}

/// Whether there is a sequence that changes how characters look (ECMA-48: SGR). The live line is
/// taken away with others.
fn is_coloured(shown: &str) -> bool {
    shown.split("\x1b[").skip(1).any(|sequence| {
        sequence.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m')
    })
}

#[test]
fn without_colour_nothing_is_coloured() {
    assert!(is_coloured("a\x1b[1;31mb") && is_coloured("\x1b[m") && !is_coloured("\x1b[2K\r1m"));
    let host = Host::new();
    let fake = with_everything(&host);
    fake.change("old", |vm| vm.image = "\u{1b}[31mred".into());
    let mut terminal = Terminal::open();
    let mut lines = listings();
    lines.extend(
        [&["--help"][..], &["vm"], &["vm", "run", "--help"], &["vm", "strat"], &["nothing"]]
            .map(<[_]>::to_vec),
    );
    lines.extend(
        [&["vm", "show", "nobody"][..], &["vm", "start", "web"], &["vm", "stop", "nobody"]]
            .map(<[_]>::to_vec),
    );
    for words in lines {
        let mut plain = host.banger(&words);
        plain.env("NO_COLOR", "1");
        let never = [&["--color", "never"][..], &words].concat();
        for command in [plain, host.banger(&never)] {
            let (shown, _) = terminal.run(command);
            assert!(!is_coloured(&shown), "{words:?}: {shown:?}");
        }
    }
}

#[test]
fn progress_is_what_was_asked_for() {
    let host = Host::new();
    let _fake = Fake::start(&host);
    std::fs::write(host.path("home/vmlinux"), "").unwrap();
    let lines = [
        (&["run", "-d"][..], true),
        (&["vm", "create"], true),
        (&["image", "pull", "alpine"], false),
        (&["image", "import", "vmlinux", "--name", "x"], false),
        (&["kernel", "pull", "debian"], true),
    ];
    for (words, has_notices) in lines {
        let said = |how: &[&str]| {
            let shown = host.run(&[words, how].concat());
            assert!(shown.ends_with("-- exit 0"), "{words:?}: {shown}");
            shown.split_once("-- stderr\n").map_or(String::new(), |(_, said)| {
                said.rsplit_once("-- exit").unwrap().0.to_owned()
            })
        };
        assert_eq!(said(&["--progress", "none"]), "", "{words:?}");
        let auto = said(&[]);
        assert_eq!(auto, said(&["--progress", "auto"]), "{words:?}");
        assert_eq!(auto.lines().count(), usize::from(has_notices), "{words:?}: {auto}");
        assert!(auto.is_empty() || auto.starts_with("note: "), "{words:?}: {auto}");
        let plain = said(&["--progress", "plain"]);
        assert!(plain.lines().count() > auto.lines().count(), "{words:?}: {plain}");
        assert!(!plain.contains(['\r', '\x1b']), "{words:?}: {plain:?}");
    }
}

#[test]
fn what_is_nearly_right_is_suggested() {
    let host = Host::new();
    let _fake = with_everything(&host);
    for (words, meant) in [
        ("vm strat", "'start'"),
        ("imgae", "'image'"),
        ("run --brnach fix .", "'--branch'"),
        ("ls --jsn", "'--json'"),
        ("run --progress plian", "'plain'"),
        ("vm stop wbe", "`web`"),
        ("rm odl", "`old`"),
    ] {
        let shown = host.run(&words.split(' ').collect::<Vec<_>>());
        assert!(shown.contains(meant), "{words}: {shown}");
        assert!(!shown.ends_with("exit 0"), "{words}: {shown}");
    }
}

/// Every command has some near one, whatever letter is missing.
#[test]
fn commands_that_lack_a_letter_are_suggested() {
    let grammar = banger_cli::command();
    let mut wrong = Vec::new();
    walk(&grammar, "banger", &mut |words, command| {
        let children: Vec<_> =
            command.get_subcommands().filter(|child| !child.is_hide_set()).collect();
        for child in children.iter().filter(|child| child.get_name().len() > 3) {
            let typo: String = child.get_name().chars().skip(1).collect();
            if children.iter().any(|other| other.get_name() == typo) {
                continue;
            }
            let line = words.split(' ').chain([&*typo]);
            let error = grammar.clone().try_get_matches_from(line).unwrap_err().to_string();
            if !error.contains(&format!("'{}'", child.get_name())) {
                wrong.push(format!("`{words} {typo}`: {error}"));
            }
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
