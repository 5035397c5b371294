//! The daemon, from one release to the next. VMs do not notice: they are their supervisors'. One that
//! is at work is left to end it; the next command that finds it idle replaces it.

use std::path::Path;
use std::time::Duration;

use banger_proto::api::DaemonStatus;
use serde::Deserialize;

use super::trial::{RunError, run};
use crate::client::{self, Presence};
use crate::environment::Environment;
use crate::errors::CliError;

/// How long the start of a daemon may take: it recovers all VMs first, and waits for the end of the
/// one before.
const DEADLINE: Duration = Duration::from_secs(180);

/// What there is to hand over.
#[derive(Debug)]
pub(crate) enum Handover {
    /// No daemon runs: one is started for a trial.
    Trial,
    /// One runs that nobody would miss for a moment.
    Idle,
    /// One is at work.
    Busy(Box<DaemonStatus>),
    /// It is not this user's to hand over: the service manager's, or, under `sudo`, somebody
    /// else's.
    NotOurs,
}

/// What `banger daemon status --json` says, as far as it is looked at.
#[derive(Debug, Deserialize)]
struct Said {
    version: String,
}

/// Looks at the daemon, before the new release is in use.
///
/// # Errors
/// When it cannot be asked.
pub(crate) async fn observe(environment: &Environment) -> Result<Handover, CliError> {
    let serviced = environment.paths.as_ref().is_ok_and(banger_proto::Paths::is_serviced);
    if serviced || environment.sudo_uid.is_some() {
        return Ok(Handover::NotOurs);
    }
    let Presence::Running(daemon) = client::find(environment).await? else {
        return Ok(Handover::Trial);
    };
    match daemon.status().await {
        Ok(status) if status.busy > 0 => Ok(Handover::Busy(Box::new(status))),
        Ok(_) => Ok(Handover::Idle),
        Err(error) if error.is_lost() => Ok(Handover::Trial),
        Err(error) => Err(error),
    }
}

/// Has `command`, the new release by now, be the daemon, and makes sure that it answers as
/// `version`, such as `1.2.3`.
///
/// # Errors
/// When it does not.
pub(crate) async fn hand_over(
    handover: &Handover,
    command: &Path,
    version: &str,
) -> Result<(), CliError> {
    if matches!(handover, Handover::Busy(_) | Handover::NotOurs) {
        return Ok(());
    }
    let failed = || CliError::failure(format!("the daemon of v{version} does not work"));
    let ask = |args: &'static [&'static str]| run(command, args, DEADLINE);
    ask(&["daemon", "start"]).await.map_err(|why| failed().because(&why))?;
    let status = ask(&["daemon", "status", "--json"]).await;
    let status = status.map_err(|why| failed().because(&why))?;
    let said: Said = serde_json::from_str(&status).map_err(|error| failed().because(&error))?;
    if said.version != version {
        let message = format!("the daemon that answers is {}, not {version}", said.version);
        return Err(CliError::failure(message));
    }
    if matches!(handover, Handover::Trial) {
        ask(&["daemon", "stop"]).await.map_err(|why| failed().because(&why))?;
    }
    Ok(())
}

/// Has `command`, the release before again by now, be the daemon if one was.
///
/// # Errors
/// When it does not start.
pub(crate) async fn take_back(handover: &Handover, command: &Path) -> Result<(), RunError> {
    // What the newer one started is in the way of the older one's, which never replaces it; mostly
    // there is none.
    let stopped = run(command, &["daemon", "stop"], DEADLINE).await;
    if matches!(handover, Handover::Idle) {
        run(command, &["daemon", "start"], DEADLINE).await?;
    }
    stopped.map(drop)
}
