//! Every example that people are shown is a command line that the program takes: those in the
//! help of each command, and those in the README and under `docs/`.

use std::path::{Path, PathBuf};

use clap::Command;

/// What stands before a command line in a document, and what a person types for the program.
const PROMPTS: [&str; 3] = ["$ banger ", "$ sudo banger ", "$ target/release/banger "];

/// Calls `visit` with every command and its words.
pub(crate) fn walk(command: &Command, words: &str, visit: &mut impl FnMut(&str, &Command)) {
    visit(words, command);
    for child in command.get_subcommands() {
        walk(child, &format!("{words} {}", child.get_name()), visit);
    }
}

/// The same with the commands that are shown.
pub(crate) fn walk_shown(command: &Command, words: &str, visit: &mut impl FnMut(&str, &Command)) {
    visit(words, command);
    for child in command.get_subcommands().filter(|child| !child.is_hide_set()) {
        walk_shown(child, &format!("{words} {}", child.get_name()), visit);
    }
}

pub(crate) fn after_help(command: &Command) -> String {
    command.get_after_help().map(ToString::to_string).unwrap_or_default()
}

#[test]
fn examples_of_the_help_are_command_lines() {
    let mut examples = 0;
    let mut wrong = Vec::new();
    walk(&banger_cli::command(), "banger", &mut |words, command| {
        for line in after_help(command).lines() {
            let typed =
                ["  banger ", "  sudo banger "].iter().find_map(|mark| line.strip_prefix(mark));
            let Some(typed) = typed else { continue };
            // An example stands alone, or two blanks before what it does.
            let typed = typed.split("  ").next().unwrap_or_default();
            examples += 1;
            wrong.extend(check(typed).err().map(|why| format!("`{words} --help`: {why}")));
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(examples > 20, "only {examples} examples were found");
}

#[test]
fn examples_of_the_documents_are_command_lines() {
    let mut examples = 0;
    let mut wrong = Vec::new();
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for (number, line) in text.lines().enumerate() {
            let Some(typed) = PROMPTS.iter().find_map(|prompt| line.strip_prefix(prompt)) else {
                continue;
            };
            examples += 1;
            let place = format!("{}:{}", document.display(), number + 1);
            wrong.extend(check(typed).err().map(|why| format!("{place}: {why}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(examples > 8, "only {examples} examples were found");
}

#[test]
fn what_is_no_command_line_is_found() {
    assert_eq!(split("-e 'A=b c' \"x\" a#b '' # said > here"), ["-e", "A=b c", "x", "a#b", ""]);
    assert_eq!(split("vm ls --json | jq ."), ["vm", "ls", "--json"]);
    assert_eq!(split("vm logs web >log"), ["vm", "logs", "web"]);
    check("vm run --rm . -- sh -c 'make | tee log'").unwrap();
    check("vm fly").unwrap_err();
    check("vm run --no-such-flag").unwrap_err();
    check("vm delete").unwrap_err();
}

/// The README and everything under `docs/`, by name.
fn documents() -> Vec<PathBuf> {
    fn add(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                add(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                found.push(path);
            }
        }
    }
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("a checkout");
    let mut found = vec![checkout.join("README.md")];
    add(&checkout.join("docs"), &mut found);
    found.sort();
    found
}

/// Whether the program takes `typed`, which has its name left out.
fn check(typed: &str) -> Result<(), String> {
    let words = std::iter::once("banger".to_owned()).chain(split(typed));
    match banger_cli::command().try_get_matches_from(words) {
        Ok(_) => Ok(()),
        Err(error) if !error.use_stderr() => Ok(()),
        Err(error) => Err(format!("`banger {typed}`: {error}")),
    }
}

/// The words of a command line as a shell sees them, up to a pipe, a redirection, the next command
/// or a comment. Quotes are understood, nothing else is.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, '|' | '<' | '>' | '&' | ';') => break,
            (None, '#') if word.is_none() => break,
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}
