//! `banger kernel`

mod list;
mod pull;

use clap::Subcommand;

use super::Context;
use crate::errors::Outcome;

/// Kernels for VMs
///
/// A kernel is obtained when a VM first needs it; an image names the one it goes with.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  banger kernel list\n  banger kernel pull")]
pub(crate) enum Command {
    #[command(visible_alias = "ls")]
    List(list::Args),
    Pull(pull::Args),
}

pub(super) async fn run_command(context: &Context, command: Command) -> Outcome {
    match command {
        Command::List(args) => list::list(context, args).await,
        Command::Pull(args) => pull::pull(context, args).await,
    }
}
