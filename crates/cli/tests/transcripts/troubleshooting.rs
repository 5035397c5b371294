//! `docs/troubleshooting.md` quotes what the program says. What is reworded there or here, or is
//! asserted by no test, is found.

use std::path::Path;

use crate::documents::checkout;

/// What stands before a message on the line that a user sees.
const BEGINNINGS: [&str; 4] = ["banger: ", "error: ", "  caused by: ", "note: "];
/// The words of a code between `banger:` and the message.
const LABELS: [&str; 4] = ["not found: ", "already exists: ", "bad request: ", "bad version: "];
/// How much of a quotation has to be the message's own words, in percent: less would be found in
/// almost anything.
const OWN: usize = 35;

#[test]
fn what_is_quoted_is_said_and_tested() {
    let (code, tests) = load_sources();
    let literals: Vec<Vec<String>> = literals(&code).iter().map(|text| fixed_parts(text)).collect();
    let document = checkout().join("docs/troubleshooting.md");
    let document = std::fs::read_to_string(document).unwrap();
    let quoted = quotations(&document);
    assert!(quoted.len() > 50, "only {} messages are quoted", quoted.len());
    let mut wrong = Vec::new();
    for message in quoted {
        let said: Vec<_> = literals.iter().filter(|parts| says(parts, message)).collect();
        if said.is_empty() {
            wrong.push(format!("nothing says `{message}`"));
        } else if !said.iter().any(|parts| tests.contains(longest(parts))) {
            wrong.push(format!("no test has `{message}`"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_reworded_is_found() {
    let code = "// `\"` in a comment\nlet a = '\"'; format!(\"VM `{name}` is {} \\\n   old\")";
    let literals = literals(code);
    assert_eq!(literals, ["VM `{name}` is {} old"]);
    let parts = fixed_parts(&literals[0]);
    assert_eq!(parts, ["VM `", "` is ", " old"]);
    assert!(says(&parts, "VM `NAME` is N days old"));
    assert!(!says(&parts, "VM `NAME` is N days young"));
    assert!(!says(&parts, "the VM `NAME` is N days old"));
    assert!(!says(&fixed_parts("{}: {}"), "VM `NAME`: anything"));
    assert!(says(&fixed_parts("command not found"), "PROGRAM: command not found"));
    assert_eq!(fixed_parts("{{}} of {a:?}"), ["{} of ", ""]);
    assert_eq!(quotations("```text\nbanger: not found: no VM `N`\n```\nbanger: x"), ["no VM `N`"]);
}

/// The messages in the blocks of text, without what stands before them.
fn quotations(document: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut quoting = false;
    for line in document.lines() {
        match line {
            "```text" => quoting = true,
            "```" => quoting = false,
            line if quoting => {
                let strip = |text: &'static [&str], line| {
                    text.iter().find_map(|mark| str::strip_prefix(line, mark)).unwrap_or(line)
                };
                found.push(strip(&LABELS, strip(&BEGINNINGS, line)));
            }
            _ => {}
        }
    }
    found
}

/// Whether `message` is what a literal with these fixed parts says, whatever stands between them,
/// or ends with one that has nothing between.
fn says(parts: &[String], message: &str) -> bool {
    if let [whole] = parts {
        let before = message.strip_suffix(whole.as_str());
        return before.is_some_and(|before| {
            before.is_empty() || (before.ends_with(": ") && whole.len() > 12)
        });
    }
    let own: usize = parts.iter().map(String::len).sum();
    if own * 100 < message.len() * OWN {
        return false;
    }
    let [first, between @ .., last] = parts else { return false };
    let rest =
        message.strip_prefix(first.as_str()).and_then(|rest| rest.strip_suffix(last.as_str()));
    let Some(mut rest) = rest else { return false };
    between.iter().all(|part| {
        let Some((_, after)) = rest.split_once(part.as_str()) else { return false };
        rest = after;
        true
    })
}

/// What a test that asserts the message has of it, wherever it puts the rest.
fn longest(parts: &[String]) -> &str {
    parts.iter().max_by_key(|part| part.len()).map_or("", |part| part.trim())
}

/// A format string without what is put into it; one more part than there are places for that.
fn fixed_parts(literal: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = literal.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '{' | '}' if characters.peek() == Some(&character) => {
                characters.next();
                parts.last_mut().expect("a part").push(character);
            }
            '{' => {
                characters.by_ref().find(|character| *character == '}');
                parts.push(String::new());
            }
            other => parts.last_mut().expect("a part").push(other),
        }
    }
    parts
}

/// The source of all programs, and the literals of all tests.
fn load_sources() -> (String, String) {
    fn add(directory: &Path, is_test: bool, code: &mut String, tests: &mut String) {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().unwrap_or_default();
            let is_test = is_test || name == "tests";
            if path.is_dir() {
                add(&path, is_test, code, tests);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source");
                let (program, test) =
                    text.split_once("#[cfg(test)]\nmod tests {").unwrap_or((&text, ""));
                if is_test {
                    tests.push_str(&text);
                } else {
                    code.push_str(program);
                    code.push('\n');
                }
                tests.push_str(test);
            }
        }
    }
    let (mut code, mut tests) = (String::new(), String::new());
    for entry in std::fs::read_dir(checkout().join("crates")).expect("the crates") {
        let path = entry.expect("a crate").path();
        add(&path.join("src"), path.ends_with("testkit"), &mut code, &mut tests);
        if path.join("tests").is_dir() {
            add(&path.join("tests"), true, &mut code, &mut tests);
        }
    }
    (code, literals(&tests).join("\n"))
}

/// The string literals of Rust's source, as the program has them.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let before = &rest[..at];
        let (mark, after) = rest[at..].split_at(1);
        rest = after;
        match mark {
            "/" if after.starts_with('/') => {
                rest = after.split_once('\n').map_or("", |(_, next)| next);
            }
            // A character; all else after this mark is the name of a lifetime.
            "'" => {
                let mut characters = after.chars();
                let escaped = characters.next() == Some('\\');
                let end =
                    if escaped { after.get(2..).and_then(|text| text.find('\'')) } else { None };
                if let Some(end) = end {
                    rest = &after[end + 3..];
                } else if !escaped && characters.next() == Some('\'') {
                    rest = characters.as_str();
                }
            }
            "\"" => {
                let hashes = before.len() - before.trim_end_matches('#').len();
                let raw = before.trim_end_matches('#').ends_with('r');
                let end = format!("\"{}", "#".repeat(hashes));
                if raw && let Some((text, next)) = after.split_once(&end) {
                    found.push(text.to_owned());
                    rest = next;
                } else {
                    let (text, next) = unescape(after);
                    found.push(text);
                    rest = next;
                }
            }
            _ => {}
        }
    }
    found
}

/// A literal up to its end, and what comes after it. Escapes that stand for characters nobody
/// quotes are left out.
fn unescape(source: &str) -> (String, &str) {
    let mut text = String::new();
    let mut characters = source.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => match characters.next() {
                Some('\n') => {
                    let next = characters.as_str().trim_start();
                    characters = next.chars();
                }
                Some(quoted @ ('"' | '\\' | '\'')) => text.push(quoted),
                _ => {}
            },
            other => text.push(other),
        }
    }
    (text, characters.as_str())
}
