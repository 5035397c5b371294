//! `banger vm workspace`

mod export;
mod status;

use clap::Subcommand;

use crate::cmd::Context;
use crate::errors::Outcome;

/// See what became of a VM's repository, and bring it home
///
/// `vm run PATH` brings a git repository into a VM; what is done to it there comes back as a
/// patch, as changes of your files, or as a branch.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Start here:
  banger vm workspace export web --apply
Before that:
  banger vm workspace status web
  banger vm workspace export web --stat")]
pub(crate) enum Command {
    Status(status::Args),
    Export(export::Args),
}

pub(super) async fn run_command(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Status(args) => status::status(context, args).await,
        Command::Export(args) => export::export(context, args).await,
    }
}
