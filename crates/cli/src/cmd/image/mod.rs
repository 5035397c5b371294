//! `banger image`

mod build;
mod delete;
mod import;
mod list;

use clap::Subcommand;

use super::Context;
use crate::errors::{CliError, Outcome};

/// Root filesystems for VMs
///
/// An image is made when a VM first needs it; all VMs share it, and none can change it.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  banger image list\n  banger image build --force")]
pub(crate) enum Command {
    #[command(visible_alias = "ls")]
    List(list::Args),
    Build(build::Args),
    Import(import::Args),
    #[command(visible_alias = "rm")]
    Delete(delete::Args),
}

pub(super) async fn run_command(context: &Context, command: Command) -> Outcome {
    match command {
        Command::List(args) => list::list(context, args).await,
        Command::Build(args) => build::build(context, args).await,
        Command::Import(args) => import::import(context, args).await,
        Command::Delete(args) => delete::delete(context, args).await,
    }
}

/// A request about an image that ended with something else.
fn unexpected(event: &banger_proto::api::Event) -> CliError {
    CliError::failure(format!("the daemon ended the request with something else: {event:?}"))
}
