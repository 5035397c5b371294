//! `banger config`

mod path;
mod show;

use clap::Subcommand;

use super::Context;
use crate::errors::Outcome;

/// What is configured, and where
///
/// banger needs no configuration. What you want otherwise goes into one file, which the daemon
/// reads when it starts; docs/config.md has all keys.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Start here:
  banger config show
To change something:
  editor $(banger config path)
  banger daemon stop          the next command starts one that reads it")]
pub(crate) enum Command {
    Show(show::Args),
    Path(path::Args),
}

pub(super) fn run_command(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Show(args) => show::show(context, &args),
        Command::Path(args) => path::path(context, &args),
    }
}
