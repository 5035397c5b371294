//! `banger daemon`

mod logs;
mod start;
mod status;
mod stop;

use clap::Subcommand;

use super::Context;
use crate::errors::Outcome;

/// The background program that keeps VMs
///
/// It starts with the first command that needs it. VMs run on without it.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  banger daemon status")]
pub(crate) enum Command {
    Status(status::Args),
    Stop(stop::Args),
    Start(start::Args),
    Logs(logs::Args),
}

pub(super) async fn run_command(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Status(args) => status::status(context, args).await,
        Command::Stop(args) => stop::stop(context, args).await,
        Command::Start(args) => start::start(context, args).await,
        Command::Logs(args) => logs::logs(context, args).await,
    }
}
