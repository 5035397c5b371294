//! `banger api`

use std::io;
use std::path::Path;

use banger_proto::exit_code;
use banger_proto::harmless::Filter;
use bytes::Bytes;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap_complete::engine::ArgValueCompleter;
use hyper::{Method, Uri};
use serde::de::IgnoredAny;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::Context;
use crate::client::{Passed, RequestBody};
use crate::complete;
use crate::errors::{CliError, Outcome};
use crate::operations::{PREFIX, Takes, find, parse_description};
use crate::stdin::Input;
use crate::ui::Ui;

/// Most bytes of JSON that are read. More than the daemon takes, so that it is the one to refuse.
const MAX_JSON: usize = 16 << 20;

/// As people type them, which a shell offers.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Send a request to the daemon
///
/// The answer is printed as it comes, line by line where the daemon goes on saying something. A
/// refusal, or an end that tells of a failure, goes to standard error with exit code 1. Ctrl-C
/// closes the connection, which cancels what docs/api.md says it cancels.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger api get vms
  banger api post vms -d '{\"name\": \"box\"}'
  banger api get openapi.json >openapi.json")]
pub(crate) struct Args {
    /// GET, POST, PUT, PATCH or DELETE, in letters of any size
    #[arg(
        value_name = "METHOD",
        ignore_case = true,
        hide_possible_values = true,
        value_parser = PossibleValuesParser::new(METHODS).map(|method| method.to_ascii_uppercase())
    )]
    method: String,
    /// Path and query; a leading /v1 may be left out
    #[arg(value_parser = parse_path, add = ArgValueCompleter::new(complete::api_paths))]
    path: String,
    /// The body: JSON, @FILE, or - for standard input
    ///
    /// JSON is checked before anything is sent. A call that takes other bytes gets them as they are.
    #[arg(short, long, value_name = "JSON|@FILE|-")]
    data: Option<String>,
    /// Give a terminal every byte, and print refusals as they come
    #[arg(long)]
    raw: bool,
}

/// A path as people type it, whole.
fn parse_path(typed: &str) -> Result<String, String> {
    let path = format!("/{}", typed.trim_start_matches('/'));
    let is_whole = path == PREFIX || path.starts_with("/v1/") || path.starts_with("/v1?");
    let path = if is_whole { path } else { format!("{PREFIX}{path}") };
    let wrong = || "a path has no scheme, no blanks and no #; a blank is written as %20".to_owned();
    match path.parse::<Uri>() {
        Ok(_) if !typed.contains("://") && !typed.contains('#') => Ok(path),
        _ => Err(wrong()),
    }
}

pub(crate) async fn api(context: &Context, args: Args) -> Outcome {
    let Args { method, path, data, raw } = args;
    let operations = parse_description(&(context.hooks.describe)());
    let bare = path.split('?').next().unwrap_or(&path);
    let operation = find(&operations, &method, bare);
    if operation.is_some_and(|operation| operation.upgrades) {
        let message = format!("{method} {bare} is no request with an answer, but a session");
        return Err(CliError::usage(message)
            .hint("to run a command: banger vm exec VM -- COMMAND")
            .hint("to follow a job: banger vm job attach VM JOB; for ssh: banger vm ssh VM"));
    }
    // A call that this program does not know may be one of a newer daemon.
    let takes = operation.map_or(Takes::Json, |operation| operation.takes);
    let body = match data.as_deref() {
        None => RequestBody::Json(Bytes::new()),
        Some(_) if takes == Takes::Nothing => {
            return Err(CliError::usage(format!("{method} {bare} takes no body")));
        }
        Some(data) => load_body(data, takes).await?,
    };
    let method = method.parse::<Method>();
    let method = method.map_err(|error| CliError::failure("no such method").because(&error))?;
    let client = context.daemon_to_ask().await?;
    let mut out = Out::new(context.ui, raw);
    match client.pass(method, &path, body).await? {
        Passed::Taken(mut answer) => {
            let ended = loop {
                match answer.next().await {
                    Ok(Some(bytes)) => out.write(&bytes)?,
                    Ok(None) => break Ok(exit_code::OK),
                    Err(error) => break Err(error),
                }
            };
            out.end()?;
            ended
        }
        Passed::Refused(bytes, _) if raw => {
            out.write(&bytes)?;
            out.end()?;
            Ok(exit_code::FAILURE)
        }
        Passed::Refused(_, error) => Err(error),
    }
}

/// The body that `data` means. One of JSON is read whole and checked; other bytes are read while
/// they are sent.
async fn load_body(data: &str, takes: Takes) -> Result<RequestBody, CliError> {
    let file = match data.strip_prefix('@') {
        Some(name) => Some((name, open(name).await?)),
        None => None,
    };
    if takes == Takes::Bytes {
        return Ok(match (file, data) {
            (Some((_, file)), _) => RequestBody::File(file),
            (None, "-") => RequestBody::Stdin(Input::open()),
            (None, text) => RequestBody::Bytes(Bytes::copy_from_slice(text.as_bytes())),
        });
    }
    let (bytes, name) = match (file, data) {
        (Some((name, file)), _) => (read_file(file, name).await?, format!("`{name}`")),
        (None, "-") => (read_stdin().await?, "standard input".to_owned()),
        (None, text) => (text.as_bytes().to_vec(), "the body".to_owned()),
    };
    serde_json::from_slice::<IgnoredAny>(&bytes).map_err(|error| {
        CliError::usage(format!("{name} is not JSON")).because(&error).hint("nothing was sent")
    })?;
    Ok(RequestBody::Json(bytes.into()))
}

async fn open(name: &str) -> Result<File, CliError> {
    File::open(Path::new(name)).await.map_err(|error| cannot_read(&format!("`{name}`"), &error))
}

async fn read_file(file: impl AsyncRead + Unpin, name: &str) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let read = file.take(MAX_JSON as u64 + 1).read_to_end(&mut bytes).await;
    read.map_err(|error| cannot_read(&format!("`{name}`"), &error))?;
    check_size(bytes)
}

async fn read_stdin() -> Result<Vec<u8>, CliError> {
    let mut input = Input::open();
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    while bytes.len() <= MAX_JSON {
        let read = input.read(&mut buffer).await;
        match read.map_err(|error| cannot_read("standard input", &error))? {
            0 => break,
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
    check_size(bytes)
}

fn check_size(bytes: Vec<u8>) -> Result<Vec<u8>, CliError> {
    if bytes.len() <= MAX_JSON {
        return Ok(bytes);
    }
    Err(CliError::usage(format!("more than {} MiB of JSON", MAX_JSON >> 20))
        .hint("nothing was sent"))
}

fn cannot_read(name: &str, error: &io::Error) -> CliError {
    CliError::failure(format!("cannot read {name}")).because(error)
}

/// Standard output, for bytes as they come.
#[derive(Debug)]
struct Out {
    ui: Ui,
    /// What keeps a guest's words from driving a terminal.
    filter: Option<Filter>,
    /// Whether the last line has its end.
    is_ended: bool,
}

impl Out {
    fn new(ui: Ui, raw: bool) -> Self {
        let filter = (ui.stdout_terminal && !raw).then(Filter::default);
        Self { ui, filter, is_ended: true }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.is_ended = bytes.last().map_or(self.is_ended, |last| *last == b'\n');
        match &mut self.filter {
            Some(filter) => self.ui.print_bytes(filter.take(bytes).as_bytes()),
            None => self.ui.print_bytes(bytes),
        }
    }

    /// Ends the last line on a terminal, where the shell's prompt would stand behind it.
    fn end(&mut self) -> Result<(), CliError> {
        if self.ui.stdout_terminal && !self.is_ended {
            self.ui.print_bytes(b"\n")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_whole() {
        for typed in ["vms", "/vms", "v1/vms", "/v1/vms"] {
            assert_eq!(parse_path(typed).as_deref(), Ok("/v1/vms"), "{typed}");
        }
        assert_eq!(parse_path("v1x?a=b").as_deref(), Ok("/v1/v1x?a=b"));
        for typed in ["a b", "http://banger/v1/vms", "vms#x"] {
            assert!(parse_path(typed).is_err(), "{typed}");
        }
    }
}
