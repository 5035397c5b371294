//! `banger daemon logs`

use banger_proto::{exit_code, harmless};
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::client::paths;
use crate::cmd::Context;
use crate::errors::{CliError, Outcome};

/// What of a line has a place of its own, or tells nothing to who uses banger.
const PLACED: [&str; 6] = ["timestamp", "level", "message", "target", "span", "spans"];

/// Show what the daemon did
///
/// Its log: time (UTC), level, what happened, and the operation it was done for, by the id that
/// errors name, too. It is read from its files, so that no daemon has to run, and `-f` goes on
/// with the next daemon. How much is logged is set by `log_level` in the configuration.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger daemon logs --tail 50
  banger daemon logs -f
  banger daemon logs --json")]
pub(crate) struct Args {
    /// Go on as the log does
    #[arg(short, long)]
    follow: bool,
    /// Begin with the last N lines [default: all]
    #[arg(long, value_name = "N")]
    tail: Option<u32>,
    /// Print the lines of JSON that the log consists of
    #[arg(long)]
    json: bool,
}

pub(crate) async fn logs(context: &Context, args: Args) -> Outcome {
    let log = paths(&context.environment)?.daemon_log();
    if !log.exists() {
        let message = format!("there is no log at `{}`: no daemon has run yet", log.display());
        return Err(CliError::failure(message).hint("`banger daemon start` starts one"));
    }
    let tail = args.tail.and_then(|lines| usize::try_from(lines).ok());
    let mut chunks = (context.hooks.read_log)(log.clone(), tail, args.follow);
    let mut unfinished = Vec::new();
    while let Some(chunk) = chunks.recv().await {
        let chunk = chunk.map_err(|error| {
            CliError::failure(format!("cannot read the log `{}`", log.display())).because(&error)
        })?;
        unfinished.extend_from_slice(&chunk);
        let Some(end) = unfinished.iter().rposition(|byte| *byte == b'\n') else { continue };
        let rest = unfinished.split_off(end + 1);
        print(context, &std::mem::replace(&mut unfinished, rest), args.json)?;
    }
    // A daemon that was killed, or a full disk, cut its last line.
    print(context, &unfinished, args.json)?;
    Ok(exit_code::OK)
}

fn print(context: &Context, lines: &[u8], json: bool) -> Result<(), CliError> {
    let lines = String::from_utf8_lossy(lines);
    let shown: String = lines
        .lines()
        .map(|line| match json {
            true => harmless::render_json(line.to_owned()) + "\n",
            false => render_line(line) + "\n",
        })
        .collect();
    context.ui.print_bytes(shown.as_bytes())
}

/// A line of the log for people; one that is none as it is.
fn render_line(line: &str) -> String {
    match serde_json::from_str::<Map<String, Value>>(line) {
        Ok(event) => harmless::render_line(&render_event(&event)),
        Err(_) => harmless::render_line(line),
    }
}

fn render_event(event: &Map<String, Value>) -> String {
    let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
    let time = text("timestamp");
    let time = time.parse::<Timestamp>().map_or(time.to_owned(), |time| format!("{time:.3}"));
    let mut line = format!("{time}  {:<5}  {}", text("level"), text("message"));
    for (name, value) in event.iter().filter(|(name, _)| !PLACED.contains(&name.as_str())) {
        line.push_str(&format!("  {name}={}", render_value(value)));
    }
    let op = event.get("span").and_then(|span| span.get("op")).and_then(Value::as_str);
    op.into_iter().for_each(|op| line.push_str(&format!("  (op {op})")));
    line
}

/// Words stand bare, everything else as in JSON, so that it is seen where it ends.
fn render_value(value: &Value) -> String {
    match value.as_str() {
        Some(word) if !word.is_empty() && !word.contains([' ', '"', '=']) => word.to_owned(),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_in_one_look() {
        let line = r#"{"timestamp":"2026-08-05T12:00:00.123456Z","level":"INFO",
            "message":"VM ready","vm":"web","elapsed":"1.2 s","pid":7,"guest":"a\u001b[2Jb\nc",
            "target":"banger_daemon::vm","span":{"op":"00aabbccddee","name":"request"},
            "spans":[{"op":"00aabbccddee","name":"request"}]}"#;
        insta::assert_snapshot!(
            render_line(line),
            @r#"2026-08-05T12:00:00.123Z  INFO   VM ready  elapsed="1.2 s"  guest=ab c  pid=7  vm=web  (op 00aabbccddee)"#
        );
        assert_eq!(render_line("thread panicked\u{7}"), "thread panicked\u{fffd}");
        assert_eq!(render_line("{}").trim(), "");
    }
}
