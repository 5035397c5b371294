//! `docs/api.md`: every `$ curl` in it is done, by the curl of this machine on a real socket, and
//! what is answered is what the page shows.
//!
//! A line of the page stands for one line that is answered: the names that it shows are in that, in
//! their order or not, and so are the values that do not change from run to run. `…` on a line of
//! its own stands for any number of lines.

use std::path::Path;
use std::process::Stdio;

use banger_testkit::{TestDaemon, TestEnv};
use hyper::Method;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{create, delete, in_time, list};

/// A command of the page, and what the page shows below it.
#[derive(Debug, PartialEq)]
struct Shown {
    command: String,
    answer: Vec<String>,
}

/// Names whose values are the same in every run.
const FIXED: [&str; 6] = ["code", "event", "message", "name", "stage", "state"];

fn parse_page(text: &str) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    let (mut is_console, mut goes_on) = (false, false);
    for line in text.lines() {
        if line.starts_with("```") {
            is_console = line == "```console";
            continue;
        }
        if !is_console {
            continue;
        }
        if let Some(command) = line.strip_prefix("$ ") {
            shown.push(Shown { command: command.to_owned(), answer: Vec::new() });
        } else if let Some(last) = shown.last_mut() {
            match goes_on {
                true => last.command = format!("{}\n{line}", last.command),
                false => last.answer.push(line.to_owned()),
            }
        }
        goes_on = line.ends_with('\\');
    }
    shown.retain(|shown| shown.command.starts_with("curl "));
    shown
}

/// The names in `line`, each with its value where that is a text.
fn fields(line: &str) -> Vec<(&str, Option<&str>)> {
    let parts: Vec<_> = line.split("\":").collect();
    let mut fields = Vec::new();
    for pair in parts.windows(2) {
        let [before, after] = pair else { continue };
        let name = before.rsplit('"').next().unwrap_or_default();
        let value = after.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
        fields.push((name, value));
    }
    fields
}

/// What of the page's `line` is not in `answer`.
fn missing<'a>(line: &'a str, answer: &str) -> Vec<(&'a str, Option<&'a str>)> {
    let answered = fields(answer);
    let is_there = |(name, value): &(&str, Option<&str>)| {
        let fixed = value.filter(|value| FIXED.contains(name) && !value.contains('…'));
        answered.iter().any(|(other, said)| other == name && (fixed.is_none() || *said == fixed))
    };
    fields(line).into_iter().filter(|field| !is_there(field)).collect()
}

/// What curl writes.
struct Answer {
    curl: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Answer {
    fn begin(env: &TestEnv, command: &str) -> Self {
        let mut curl = Command::new("bash")
            .args(["-c", &format!("exec {command}")])
            .env("SOCKET", env.paths.daemon_socket())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(curl.stdout.take().unwrap()).lines();
        Self { curl, lines }
    }

    async fn next(&mut self) -> Option<String> {
        in_time(self.lines.next_line()).await.unwrap()
    }

    /// Reads what is `shown`, and then, unless it has no end, to the end.
    async fn compare(mut self, shown: &Shown, has_end: bool) {
        let command = &shown.command;
        let mut skips = false;
        for line in &shown.answer {
            if line == "…" {
                skips = true;
                continue;
            }
            loop {
                let answer = self.next().await;
                let answer = answer.unwrap_or_else(|| panic!("`{command}`: no `{line}`"));
                let missing = missing(line, &answer);
                if missing.is_empty() {
                    break;
                }
                assert!(skips, "`{command}`: {missing:?} of `{line}` are not in `{answer}`");
            }
            skips = false;
        }
        if has_end {
            while let Some(line) = self.next().await {
                let is_taken = skips || shown.answer.is_empty();
                assert!(is_taken, "`{command}`: the page does not show `{line}`");
                // A refusal that the page does not tell of.
                assert!(!line.contains("\"op_id\""), "`{command}`: {line}");
            }
            assert!(in_time(self.curl.wait()).await.unwrap().success(), "`{command}`");
        }
    }
}

#[tokio::test]
async fn every_curl_of_the_page_does_what_it_shows() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/api.md");
    let page = parse_page(&fs_err::read_to_string(page).unwrap());
    assert!(page.len() >= 9, "{page:#?}");
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    for shown in &page {
        let mut answer = Answer::begin(&env, &shown.command);
        if !shown.command.contains("/v1/events") {
            answer.compare(shown, true).await;
            continue;
        }
        // The page shows what others do meanwhile.
        assert!(list(&daemon).await.is_empty(), "the page leaves VMs there");
        let position = answer.next().await.unwrap();
        assert_eq!(missing(&shown.answer[0], &position), [], "{position}");
        create(&daemon, "box").await;
        delete(&daemon, "box").await;
        let rest = Shown { command: shown.command.clone(), answer: shown.answer[1..].to_vec() };
        answer.compare(&rest, false).await;
    }
    assert!(daemon.client.call(Method::GET, "/v1/vms/box", ()).await.status.is_client_error());
    daemon.stop().await;
}

#[test]
fn what_the_page_shows_is_told_from_what_is_answered() {
    let page =
        "$ curl no\n```console\n$ curl a \\\n  b\n{\"x\":1}\n…\n$ banger vm ls\n$ curl c\n```\n";
    let shown = |command: &str, answer: &[&str]| Shown {
        command: command.to_owned(),
        answer: answer.iter().map(|line| (*line).to_owned()).collect(),
    };
    let expected = [shown("curl a \\\n  b", &["{\"x\":1}", "…"]), shown("curl c", &[])];
    assert_eq!(parse_page(page), expected);

    let answer = r#"{"event":"state","seq":7,"vm":{"name":"box"}}"#;
    assert_eq!(missing(r#"{"event":"state","vm":{"name":"box",…}}"#, answer), []);
    assert_eq!(missing(r#"{"seq":8,…"#, answer), []);
    assert_eq!(missing(r#"{"event":"deleted"}"#, answer), [("event", Some("deleted"))]);
    assert_eq!(missing(r#"{"sequence":7}"#, answer), [("sequence", None)]);
}
