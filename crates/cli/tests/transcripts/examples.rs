//! Every example that people are shown is a command line that the program takes: those in the
//! help of each command, and those in the README and under `docs/`.

use std::path::{Path, PathBuf};

use clap::Command;

/// What may stand before a command in a line of a shell: words of its own, and programs that start
/// another one. `timeout` has the time after it.
const BEFORE: [&str; 8] = ["!", "do", "else", "if", "sudo", "then", "timeout", "while"];

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
            let typed = split(typed).into_iter().next().unwrap_or_default();
            wrong.extend(check(&typed).err().map(|why| format!("`{words} --help`: {why}")));
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
        for (number, line) in command_lines(&text) {
            for typed in commands(&line) {
                examples += 1;
                let place = format!("{}:{number}", document.display());
                wrong.extend(check(&typed).err().map(|why| format!("{place}: {why}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(examples > 120, "only {examples} examples were found");
}

#[test]
fn what_is_no_command_line_is_found() {
    let words = |line: &str| split(line).concat();
    assert_eq!(words("-e 'A=b c' \"x\" a#b '' # said > here"), ["-e", "A=b c", "x", "a#b", ""]);
    assert_eq!(words("vm logs web 2>&1 >log"), ["vm", "logs", "web"]);
    let typed = |line: &str| -> Vec<String> {
        commands(line).into_iter().map(|words| words.join(" ")).collect()
    };
    assert_eq!(typed("banger vm ls --json | jq ."), ["vm ls --json"]);
    assert_eq!(typed("A=b sudo banger vm ls && target/bin/banger doctor"), ["vm ls", "doctor"]);
    assert_eq!(typed("x | timeout -k 1 60 banger vm ls"), ["vm ls"]);
    assert_eq!(typed("jq . | xargs -r banger vm delete"), Vec::<String>::new());
    assert_eq!(typed("x=$(banger ls); while ! banger ps; do sleep 1; done"), ["ls", "ps"]);
    assert_eq!(typed("echo banger fly; banger vm run -- sh -c 'a | b'"), ["vm run -- sh -c a | b"]);
    let page = "$ banger ls\nplain banger ls\n  $ banger \\\n    ps\n";
    assert_eq!(command_lines(page), [(1, "banger ls".to_owned()), (3, "banger     ps".to_owned())]);

    let check = |line: &str| check(&split(line).concat());
    check("vm run --rm . -- sh -c 'make | tee log'").unwrap();
    check("vm fly").unwrap_err();
    check("vm run --no-such-flag").unwrap_err();
    check("vm delete").unwrap_err();
}

/// What is typed at a prompt in a document, however far that stands in, with the number of its line.
fn command_lines(text: &str) -> Vec<(usize, String)> {
    let mut typed: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (number, line) in text.lines().enumerate() {
        let begun = line.trim_start().strip_prefix("$ ");
        let text = line.strip_suffix('\\').unwrap_or(line);
        match (begun, typed.last_mut()) {
            (None, Some((_, last))) if goes_on => last.push_str(text),
            (None, _) => continue,
            (Some(begun), _) => {
                let begun = begun.strip_suffix('\\').unwrap_or(begun);
                typed.push((number + 1, begun.to_owned()));
            }
        }
        goes_on = line.ends_with('\\');
    }
    typed
}

/// The words after the program's name in each command of a line that starts it.
pub(crate) fn commands(line: &str) -> Vec<Vec<String>> {
    let is_ours = |word: &str| word == "banger" || word.ends_with("/banger");
    let is_variable = |word: &str| word.contains('=') && !word.starts_with('-');
    let mut found = Vec::new();
    for words in split(line) {
        let mut words = words.into_iter().skip_while(|word| {
            let is_time = word.starts_with('-') || word.parse::<u32>().is_ok();
            BEFORE.contains(&&**word) || is_variable(word) || is_time
        });
        if words.next().is_some_and(|word| is_ours(&word)) {
            found.push(words.collect());
        }
    }
    found
}

/// The README and everything under `docs/`, by name.
pub(crate) fn documents() -> Vec<PathBuf> {
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
pub(crate) fn check(typed: &[String]) -> Result<(), String> {
    let words = std::iter::once("banger").chain(typed.iter().map(String::as_str));
    match banger_cli::command().try_get_matches_from(words) {
        Ok(_) => Ok(()),
        Err(error) if !error.use_stderr() => Ok(()),
        Err(error) => Err(format!("`banger {}`: {error}", typed.join(" "))),
    }
}

/// The commands of a line as a shell sees them, each with its words, up to a comment. Quotes, pipes,
/// lists, substitutions outside of quotes and redirections are understood, nothing else is.
fn split(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    // After a redirection, whose file is no word of the command.
    let mut is_file = false;
    // A blank at the end ends the last word.
    for character in line.chars().chain([' ']) {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, '<' | '>') => {
                // What is left of it may be the number of what is redirected.
                word = word.filter(|word| word.parse::<u8>().is_err());
                add(&mut commands, word.take());
                is_file = true;
            }
            (None, '&') if is_file => {}
            (None, ' ') if is_file && word.is_none() => {}
            (None, ' ' | '|' | '&' | ';' | '(' | ')') => {
                let whole = word.take().filter(|_| !std::mem::take(&mut is_file));
                // What a substitution begins with.
                let whole = whole.map(|word| word.trim_end_matches('$').to_owned());
                add(&mut commands, whole);
                if character != ' ' {
                    commands.push(Vec::new());
                }
            }
            _ => word.get_or_insert_default().push(character),
        }
    }
    commands
}

fn add(commands: &mut [Vec<String>], word: Option<String>) {
    if let Some(command) = commands.last_mut() {
        command.extend(word);
    }
}
