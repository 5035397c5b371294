//! The process that takes the agent's place when it is killed beside the image's systemd.
//!
//! ```text
//!   agent ── systemd is ready ─▶ starts the guard, tells it what a successor has to know
//!     │ ───── becomes another VM ─▶ tells it again
//!     │                            │ waits for the pipe's end, then for the agent's
//!     └── killed ─────────────────▶ opens the port, greets the host, starts a guard of its own
//! ```
//!
//! Commands of the agent that died have lost their streams and are left to themselves; the host
//! is told that they are lost. Where process 1 is this program's, none is needed: it ends the
//! guest with its agent.

use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};

use banger_proto::guest::SshKeys;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::context::{Context, KnownCard};
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
    /// The network card that was set up.
    #[serde(default)]
    pub(crate) card: KnownCard,
}

impl Legacy {
    fn of(context: &Context) -> Self {
        Self { env: context.env(), ssh_keys: context.ssh_keys(), card: context.card() }
    }

    /// One line.
    fn render(&self) -> serde_json::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }

    /// The last that was told whole: an agent may die while it is telling. Where it was the first,
    /// commands lack their environment.
    fn parse_last(told: &[u8]) -> Self {
        let lines = told.rsplit(|byte| *byte == b'\n');
        lines.filter_map(|line| serde_json::from_slice(line).ok()).next().unwrap_or_default()
    }
}

/// The agent's end of the pipe; the kernel closes it with the agent.
static LIFELINE: Mutex<Option<PipeWriter>> = Mutex::new(None);

/// Starts the guard of this process, once.
///
/// # Errors
/// When it cannot be started: then nobody will take this process's place.
pub(crate) fn start(context: &Context) -> io::Result<()> {
    let mut lifeline = LIFELINE.lock().unwrap_or_else(PoisonError::into_inner);
    if lifeline.is_some() {
        return Ok(());
    }
    let legacy = Legacy::of(context).render()?;
    let (reader, mut writer) = io::pipe()?;
    Command::new("/proc/self/exe")
        .arg0(GUARD)
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(reader)))
        .spawn()?;
    // It reads at once, so what does not fit into the pipe does not wait for long.
    writer.write_all(&legacy)?;
    *lifeline = Some(writer);
    Ok(())
}

/// Tells the guard what has changed since it was started. One that is started later is told then.
///
/// # Errors
/// When it cannot be told; it may have been killed.
pub(crate) fn tell(context: &Context) -> io::Result<()> {
    let mut lifeline = LIFELINE.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut *lifeline {
        Some(guard) => guard.write_all(&Legacy::of(context).render()?),
        None => Ok(()),
    }
}

/// Waits for the agent's end, then is the agent.
pub(crate) fn run() -> ExitCode {
    // Fails when the agent has ended by now.
    let agent =
        rustix::process::getppid().and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let mut legacy = Vec::new();
    if let Err(error) = io::stdin().read_to_end(&mut legacy) {
        eprintln!("banger-agent: guard: {error}");
        return ExitCode::FAILURE;
    }
    // The port can be opened again when everything of the agent is closed, which its end tells.
    if let Some(agent) = agent {
        let _ = poll(&mut [PollFd::new(&agent.as_fd(), PollFlags::IN)], None);
    }
    eprintln!("banger-agent: the agent was killed; its guard takes its place");
    resident::run_again(Legacy::parse_last(&legacy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosted::Hosted;

    fn env(value: &str) -> std::collections::BTreeMap<String, String> {
        [("WHO".to_owned(), value.to_owned())].into()
    }

    #[test]
    fn a_successor_knows_what_was_told_last() {
        let context = Context::hosted(Hosted::default());
        context.set_env(env("parent"));
        context.set_card(KnownCard::None);
        // No guard is there to be told.
        tell(&context).unwrap();

        let (mut reader, writer) = io::pipe().unwrap();
        *LIFELINE.lock().unwrap() = Some(writer);
        tell(&context).unwrap();
        let keys = SshKeys { host_key: "own\nkey".into(), authorized_keys: vec!["k".into()] };
        context.set_env(env("own"));
        context.set_ssh_keys(Some(keys.clone()));
        let card = KnownCard::Mac("02:11:22:33:44:66".parse().unwrap());
        context.set_card(card);
        tell(&context).unwrap();
        // What the kernel does when the agent dies.
        *LIFELINE.lock().unwrap() = None;
        let mut told = Vec::new();
        reader.read_to_end(&mut told).unwrap();

        let legacy = Legacy::parse_last(&told);
        assert_eq!((legacy.env, legacy.ssh_keys, legacy.card), (env("own"), Some(keys), card));
        // It died while it was telling.
        let legacy = Legacy::parse_last(&told[..told.len() - 2]);
        assert_eq!((legacy.env, legacy.card), (env("parent"), KnownCard::None));
        let legacy = Legacy::parse_last(br#"{"env":{"WHO":"pa"#);
        assert_eq!((legacy.env.len(), legacy.card), (0, KnownCard::Unknown));
    }
}
