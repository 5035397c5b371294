//! `banger vm pause`

use banger_proto::api::VmView;

use super::several::{Several, SeveralArgs};
use crate::client::Client;
use crate::cmd::Context;
use crate::errors::{CliError, Outcome};
use crate::reference::vm_path;

/// Have VMs stand still, with all that runs in them
///
/// They use no processor until `resume`, and keep their memory. `stop` gives that back, too. Unlike VMs
/// that are paused because nobody used them (`--idle-pause`), they do not wake when they are used.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger vm pause web db")]
pub(crate) struct Args {
    #[command(flatten)]
    several: SeveralArgs,
}

pub(crate) async fn pause(context: &Context, args: Args) -> Outcome {
    let (several, targets) = Several::find(context, args.several).await?;
    several.each(targets, "pausing", pause_one).await
}

/// Pauses one VM.
pub(in crate::cmd) async fn pause_one(client: Client, vm: VmView) -> Result<VmView, CliError> {
    client.post(&vm_path(&vm.id, "/pause"), &serde_json::json!({})).await
}
