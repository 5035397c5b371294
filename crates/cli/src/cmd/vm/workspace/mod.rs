//! `banger vm workspace`

mod export;
mod prepare;
mod status;

use clap::Subcommand;

use crate::cmd::Context;
use crate::errors::Outcome;

pub(super) use prepare::prepare_again;

/// Keep a VM's repository in step with yours, and bring its work home
///
/// `vm run PATH` brings a git repository into a VM, `prepare` brings it in again as it is by then;
/// what is done to it there comes back as a patch, as changes of your files, or as a branch.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Start here:
  banger vm workspace export web --apply
Before that:
  banger vm workspace status web
  banger vm workspace export web --stat
Your repository has moved on:
  banger vm workspace prepare web")]
pub(crate) enum Command {
    Status(status::Args),
    Export(export::Args),
    Prepare(prepare::Args),
}

pub(super) async fn run_command(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Status(args) => status::status(context, args).await,
        Command::Export(args) => export::export(context, args).await,
        Command::Prepare(args) => prepare::prepare(context, args).await,
    }
}
