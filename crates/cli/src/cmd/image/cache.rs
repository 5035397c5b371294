//! `banger image cache`

use banger_proto::api::Pruned;
use banger_proto::exit_code;
use clap::Subcommand;

use crate::cmd::Context;
use crate::errors::Outcome;

/// What images leave on the disk beside themselves
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  banger image cache prune")]
pub(crate) enum Command {
    Prune(Args),
}

/// Remove files that no image and no VM needs, and tell how much it was
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger image cache prune --json")]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run_command(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Prune(args) => prune(context, args).await,
    }
}

async fn prune(context: &Context, args: Args) -> Outcome {
    let client = context.daemon_to_ask().await?;
    let pruned: Pruned = client.post("/v1/images/prune", &serde_json::json!({})).await?;
    if args.json {
        context.ui.print_json(&pruned)?;
        return Ok(exit_code::OK);
    }
    super::note_all(context, &pruned.notices);
    let files = if pruned.files == 1 { "file" } else { "files" };
    context.ui.print(&format!("freed {} ({} {files})", pruned.bytes.human(), pruned.files))?;
    Ok(exit_code::OK)
}
