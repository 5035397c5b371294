//! `banger vm kill`

use banger_proto::api::VmView;

use super::several::{Several, SeveralArgs};
use crate::client::Client;
use crate::cmd::Context;
use crate::errors::{CliError, Outcome};
use crate::reference::vm_path;

/// End VMs at once, as pulling the plug does, and keep their disks
///
/// Nothing in the guest is asked or waited for: what it had not written to its disk yet is lost.
/// `stop` lets it finish first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger vm kill web db")]
pub(crate) struct Args {
    #[command(flatten)]
    several: SeveralArgs,
}

pub(crate) async fn kill(context: &Context, args: Args) -> Outcome {
    let (several, targets) = Several::find(context, args.several).await?;
    several.each(targets, "killing", kill_one).await
}

async fn kill_one(client: Client, vm: VmView) -> Result<VmView, CliError> {
    client.post(&vm_path(&vm.id, "/kill"), &serde_json::json!({})).await
}
