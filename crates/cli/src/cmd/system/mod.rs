//! `banger system`

mod gc;

use clap::Subcommand;

use super::Context;
use crate::errors::Outcome;

/// banger as a whole on this host
///
/// Nothing here is needed from day to day; `banger doctor` says when it is.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  banger system gc --dry-run")]
pub(crate) enum Command {
    Gc(gc::Args),
}

pub(super) async fn run_command(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Gc(args) => gc::collect(context, args).await,
    }
}
