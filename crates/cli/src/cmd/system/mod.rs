//! `banger system`

mod gc;
mod install;
mod restart;
mod status;
mod uninstall;

use clap::Subcommand;

use super::Context;
use crate::errors::{CliError, Outcome};
use crate::ui::Ui;

/// banger as a whole on this host
///
/// Nothing here is needed from day to day; `banger doctor` says when it is. As a service of the
/// system banger runs from boot on, and this host reaches VMs by their own addresses and names.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  sudo banger system install\n  banger system gc --dry-run")]
pub(crate) enum Command {
    Install(install::Args),
    Status(status::Args),
    Restart(restart::Args),
    Uninstall(uninstall::Args),
    Gc(gc::Args),
}

/// Says why nobody can be asked, unless `yes` makes that needless.
fn check_askable(ui: &Ui, yes: bool, command: &str) -> Result<(), CliError> {
    if yes || (ui.stdin_terminal && ui.stderr_terminal) {
        return Ok(());
    }
    Err(CliError::usage("nobody can be asked here, because this is no terminal")
        .hint(format!("to do it without being asked: {command} --yes")))
}

pub(super) async fn run_command(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Install(args) => install::install(context, args).await,
        Command::Status(args) => status::status(context, args).await,
        Command::Restart(args) => restart::restart(context, args).await,
        Command::Uninstall(args) => uninstall::uninstall(context, args).await,
        Command::Gc(args) => gc::collect(context, args).await,
    }
}
