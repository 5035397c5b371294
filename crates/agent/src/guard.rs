//! The process that takes the agent's place when it is killed beside the image's systemd.
//!
//! ```text
//!   agent ── systemd is ready ─▶ starts the guard, tells it what a successor has to know
//!     │                            │ waits for the pipe's end, then for the agent's
//!     └── killed ─────────────────▶ opens the port, greets the host, starts a guard of its own
//! ```
//!
//! Commands of the agent that died have lost their streams and are left to themselves; the host
//! is told that they are lost. Where process 1 is this program's, none is needed: it ends the
//! guest with its agent.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};

use banger_proto::guest::SshKeys;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::resident;
use crate::role::GUARD;

/// What a successor has to know: the rest is the kernel's or systemd's to tell.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Legacy {
    /// The environment of every command.
    pub(crate) env: std::collections::BTreeMap<String, String>,
    /// The guest's keys.
    #[serde(default)]
    pub(crate) ssh_keys: Option<SshKeys>,
}

/// The agent's end of the pipe; the kernel closes it with the agent.
static LIFELINE: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// Starts the guard of this process, once.
///
/// # Errors
/// When it cannot be started: then nobody will take this process's place.
pub(crate) fn start(context: &Context) -> std::io::Result<()> {
    let mut lifeline = LIFELINE.lock().unwrap_or_else(PoisonError::into_inner);
    if lifeline.is_some() {
        return Ok(());
    }
    let legacy = serde_json::to_vec(&Legacy { env: context.env(), ssh_keys: context.ssh_keys() })?;
    let (reader, mut writer) = std::io::pipe()?;
    Command::new("/proc/self/exe")
        .arg0(GUARD)
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(reader)))
        .spawn()?;
    // It reads at once, so what does not fit into the pipe does not wait for long.
    writer.write_all(&legacy)?;
    *lifeline = Some(writer.into());
    Ok(())
}

/// Waits for the agent's end, then is the agent.
pub(crate) fn run() -> ExitCode {
    // Fails when the agent has ended by now.
    let agent =
        rustix::process::getppid().and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let mut legacy = Vec::new();
    if let Err(error) = std::io::stdin().read_to_end(&mut legacy) {
        eprintln!("banger-agent: guard: {error}");
        return ExitCode::FAILURE;
    }
    // The port can be opened again when everything of the agent is closed, which its end tells.
    if let Some(agent) = agent {
        let _ = poll(&mut [PollFd::new(&agent.as_fd(), PollFlags::IN)], None);
    }
    // Half of it where the agent died while it was telling; commands then lack their environment.
    let legacy = serde_json::from_slice(&legacy).unwrap_or_default();
    eprintln!("banger-agent: the agent was killed; its guard takes its place");
    resident::run_again(legacy)
}
