//! nftables: its program loads the rules' text, in one transaction, so that there is never half of it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::rules::TABLE;

/// Where the program is looked for. Whoever starts the helper has no say in it.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Most of what the program says that is passed on, bytes.
const SAID: usize = 1 << 10;

/// What went wrong with rules.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// It is not installed.
    #[error("program `nft` is missing in {}: install the package nftables", FOLDERS.join(", "))]
    Missing,
    /// It could not be started or spoken to.
    #[error("cannot run `{}`", .0.display())]
    Run(PathBuf, #[source] io::Error),
    /// It ended with an error.
    #[error("`nft` failed with {status}: {said}")]
    Failed {
        /// How it ended.
        status: std::process::ExitStatus,
        /// The last of what it said.
        said: String,
    },
}

/// Loads rules from their text: all of it or nothing.
///
/// # Errors
///
/// The program is missing, or refuses the text.
pub fn load(text: &str) -> Result<(), NftError> {
    run(&["-f", "-"], text).map(drop)
}

/// Whether both tables are there.
///
/// # Errors
///
/// The program is missing or fails.
pub fn observe_tables() -> Result<bool, NftError> {
    let listed = run(&["list", "tables"], "")?;
    let text = String::from_utf8_lossy(&listed.stdout);
    let there = |family| text.lines().any(|line| line == format!("table {family} {TABLE}"));
    Ok(there("inet") && there("bridge"))
}

/// The caller's deadline is the one that counts: a helper that is killed leaves a transaction that is
/// done or not.
fn run(arguments: &[&str], input: &str) -> Result<Output, NftError> {
    let program = FOLDERS
        .iter()
        .map(|folder| PathBuf::from(folder).join("nft"))
        .find(|path| path.is_file())
        .ok_or(NftError::Missing)?;
    let failed = |error| NftError::Run(program.clone(), error);
    let mut child = Command::new(&program)
        .args(arguments)
        .env_clear()
        .env("PATH", FOLDERS.join(":"))
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let written = match child.stdin.take() {
        // It reads everything before it says anything, so this cannot wait for each other.
        Some(mut stdin) => stdin.write_all(input.as_bytes()),
        None => Ok(()),
    };
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        return Err(NftError::Failed { status: output.status, said: last(&output.stderr) });
    }
    // One that has ended well and did not want all of it would have loaded less.
    written.map_err(failed)?;
    Ok(output)
}

fn last(said: &[u8]) -> String {
    let tail = &said[said.len().saturating_sub(SAID)..];
    String::from_utf8_lossy(tail).trim().to_owned()
}
