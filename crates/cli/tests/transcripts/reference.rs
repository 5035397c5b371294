//! What `docs/cli.md` and the manual say of the command line is what the program has.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use clap::{Arg, Command};

use crate::documents::assert_page;
use crate::examples::{after_help, walk_shown};
use crate::host::Host;

const HEAD: &str = "\
<!-- Generated; to change it: UPDATE_DOCS=1 cargo test -p banger-cli --test transcripts docs_cli -->
# The command line

Every command, as its `--help` has it; that also knows what the defaults are on your host. Every command
takes `--help`, and `--color WHEN` (`auto`, `always` or `never`), which says when output is coloured.

| command | what it does |
|---|---|
";

fn render_reference() -> String {
    let mut grammar = banger_cli::command().disable_help_subcommand(true);
    grammar.build();
    let (mut contents, mut sections) = (String::new(), String::new());
    walk_shown(&grammar, "banger", &mut |words, command| {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let anchor = words.replace(' ', "-");
        writeln!(contents, "| [`{words}`](#{anchor}) | {} |", cell(&about)).unwrap();
        sections.push_str(&render_section(words, command));
    });
    format!("{HEAD}{contents}{sections}")
}

fn render_section(words: &str, command: &Command) -> String {
    let about = command.get_long_about().or(command.get_about()).expect("every command has one");
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").expect("clap says so");
    let mut text = format!("\n## {words}\n\n{about}\n\n```text\n{usage}\n```\n");
    let aliases: Vec<_> = command.get_visible_aliases().map(|alias| format!("`{alias}`")).collect();
    if !aliases.is_empty() {
        write!(text, "\nAlso: {}\n", aliases.join(", ")).unwrap();
    }
    let own = |arg: &&Arg| !arg.is_hide_set() && !arg.is_global_set() && arg.get_id() != "help";
    let (places, flags): (Vec<_>, Vec<_>) =
        command.get_arguments().filter(own).partition(|arg| arg.is_positional());
    for (heading, args) in [("argument", places), ("option", flags)] {
        if !args.is_empty() {
            write!(text, "\n| {heading} | what it means |\n|---|---|\n").unwrap();
            for arg in args {
                text.push_str(&render_arg(arg));
            }
        }
    }
    write!(text, "\n```text\n{}\n```\n", after_help(command)).unwrap();
    text
}

/// An argument's row.
fn render_arg(arg: &Arg) -> String {
    let short = arg.get_short().filter(|_| arg.get_long().is_some());
    let short = short.map(|short| format!("-{short}, ")).unwrap_or_default();
    let mut help = arg.get_help().expect("every argument has one").to_string();
    let code = |words: Vec<String>| words.join("`, `");
    let values = arg.get_possible_values();
    if arg.get_action().takes_values() && !arg.is_hide_possible_values_set() && !values.is_empty() {
        let values = values.iter().map(|value| value.get_name().to_owned()).collect();
        write!(help, "; one of `{}`", code(values)).unwrap();
    }
    if arg.get_action().takes_values() && !arg.get_default_values().is_empty() {
        let values =
            arg.get_default_values().iter().map(|value| value.to_str().unwrap().to_owned());
        write!(help, " [default: `{}`]", code(values.collect())).unwrap();
    }
    format!("| `{short}{}` | {} |\n", cell(&arg.to_string()), cell(&help))
}

/// Text in a table: of one line, and without the table's own mark.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

#[test]
fn docs_cli_is_current() {
    assert_page("cli.md", &render_reference());
}

#[test]
fn every_command_has_a_page_in_the_manual() {
    let host = Host::new();
    let printed = host.run(&["internal", "man", "man/man1"]);
    let printed = printed.strip_suffix("-- exit 0").unwrap();
    let printed: BTreeSet<_> = printed.lines().map(str::to_owned).collect();
    let mut expected = BTreeSet::new();
    walk_shown(&banger_cli::command(), "banger", &mut |words, command| {
        let name = words.replace(' ', "-");
        let file = format!("man/man1/{name}.1");
        let page = std::fs::read_to_string(host.path("home").join(&file)).unwrap();
        expected.insert(file);
        check_page(&name, words, command, &page);
    });
    assert_eq!(printed, expected);
    let written = std::fs::read_dir(host.path("home/man/man1")).unwrap().count();
    assert_eq!(written, expected.len());
}

/// What man(1) and whatis(1) need, and what a reader looks for.
fn check_page(name: &str, words: &str, command: &Command, page: &str) {
    let escaped = name.replace('-', "\\-");
    let version = env!("CARGO_PKG_VERSION");
    let title = format!(".TH {name} 1 \" \" \"banger {version}\" banger");
    let titles: Vec<_> = page.lines().filter(|line| line.starts_with(".TH")).collect();
    assert_eq!(titles, [title]);
    assert_eq!(page.matches(".ie ").count(), 1, "{page}");
    let sections: Vec<_> = page.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
    let mut wanted = vec!["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"];
    if command.get_arguments().any(|arg| arg.get_help_heading() == Some("Options of ssh")) {
        wanted.push("\"OPTIONS OF SSH\"");
    }
    if command.has_subcommands() {
        wanted.push("SUBCOMMANDS");
    }
    wanted.push("EXAMPLES");
    assert_eq!(sections, wanted, "`{name}`");
    let mut lines = page.lines().skip_while(|line| *line != ".SH NAME").skip(1);
    let about = lines.next().unwrap();
    assert!(about.starts_with(&format!("{escaped} \\- ")), "`{name}`: {about}");
    let mut lines = page.lines().skip_while(|line| *line != ".SH SYNOPSIS").skip(1);
    let usage = lines.next().unwrap();
    let words = words.replace('-', "\\-");
    assert!(usage.starts_with(&format!("\\fB{words}\\fR")), "`{name}`: {usage}");
    // Every other request is one of those that are meant: text that looks like one would be lost.
    let known = ["TH", "SH", "TP", "PP", "IP", "RS", "RE", "nf", "fi", "br", "ie", "el", "\\\""];
    for request in page.lines().filter_map(|line| line.strip_prefix('.')) {
        let macro_name = request.split([' ', '\n']).next().unwrap();
        assert!(known.contains(&macro_name), "`{name}`: .{request}");
    }
}
