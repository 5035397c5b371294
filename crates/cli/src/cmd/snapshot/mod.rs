//! `banger snapshot`

mod create;
mod delete;
mod list;
mod restore;

use clap::Subcommand;

use super::Context;
use crate::errors::Outcome;

/// What VMs were, to go back to
///
/// A snapshot has a VM's disk and, if it ran, its memory: going back to it, everything in it goes on.
/// It goes with its VM.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  banger snapshot create web before-upgrade
  banger snapshot list web
  banger snapshot restore -f web before-upgrade")]
pub(crate) enum Command {
    Create(create::Args),
    #[command(visible_alias = "ls")]
    List(list::Args),
    Restore(restore::Args),
    #[command(visible_alias = "rm")]
    Delete(delete::Args),
}

pub(super) async fn run_command(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Create(args) => create::create(context, args).await,
        Command::List(args) => list::list(context, args).await,
        Command::Restore(args) => restore::restore(context, args).await,
        Command::Delete(args) => delete::delete(context, args).await,
    }
}
