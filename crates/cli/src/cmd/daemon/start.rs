//! `banger daemon start`

use banger_proto::exit_code;

use crate::cmd::Context;
use crate::errors::Outcome;

/// Start the daemon
///
/// Waits until it is ready; one that runs already is left as it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger daemon start")]
pub(crate) struct Args {}

pub(crate) async fn start(context: &Context, _args: Args) -> Outcome {
    context.daemon_to_ask().await?;
    Ok(exit_code::OK)
}
