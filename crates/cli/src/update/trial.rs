//! A new release's first words: before it is put in use, it has to run on this machine and say that
//! it is what it was signed as.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use banger_release::Version;
use serde::Deserialize;
use tokio::process::Command;
use tokio::time::timeout;

use crate::errors::CliError;

/// How long a program may take. It takes some milliseconds.
const DEADLINE: Duration = Duration::from_secs(20);

/// What `banger version --json` says, as far as it is looked at.
#[derive(Debug, Deserialize)]
struct Said {
    version: String,
}

/// Runs the `banger` beneath `directory`, which has to be `version`.
///
/// # Errors
/// When it does not run, or says that it is something else.
pub(crate) async fn try_out(directory: &Path, version: &Version) -> Result<(), CliError> {
    let failed = || CliError::failure(format!("{version} does not work on this machine"));
    let said = run(&directory.join("bin/banger"), &["version", "--json"], DEADLINE).await;
    let said = said.map_err(|why| failed().because(&why))?;
    let said: Said = serde_json::from_str(&said).map_err(|error| failed().because(&error))?;
    if said.version.parse().is_ok_and(|said: Version| said == *version) {
        return Ok(());
    }
    Err(CliError::failure(format!("what is signed as {version} says that it is {}", said.version)))
}

/// Why a program did not do what it was started for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// It cannot be started.
    #[error("cannot run `{0}`: {1}")]
    Start(String, std::io::Error),
    /// It did not end.
    #[error("`{0}` has not ended in {1} s")]
    Late(String, u64),
    /// It failed.
    #[error("`{0}` failed: {1}")]
    Failed(String, String),
}

/// What `program` writes when it is run.
pub(super) async fn run(
    program: &Path,
    args: &[&str],
    deadline: Duration,
) -> Result<String, RunError> {
    let shown = format!("{} {}", program.display(), args.join(" "));
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = match timeout(deadline, command.output()).await {
        Err(_) => return Err(RunError::Late(shown, deadline.as_secs())),
        Ok(Err(error)) => return Err(RunError::Start(shown, error)),
        Ok(Ok(output)) => output,
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(RunError::Failed(shown, if said.is_empty() { output.status.to_string() } else { said }))
}
