//! `banger vm resume`

use banger_proto::api::VmView;

use super::several::{Several, SeveralArgs};
use crate::client::Client;
use crate::cmd::Context;
use crate::errors::{CliError, Outcome};
use crate::reference::vm_path;

/// Have VMs go on that `pause` made stand still
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger vm resume web db")]
pub(crate) struct Args {
    #[command(flatten)]
    several: SeveralArgs,
}

pub(crate) async fn resume(context: &Context, args: Args) -> Outcome {
    let (several, targets) = Several::find(context, args.several).await?;
    several.each(targets, "resuming", resume_one).await
}

/// Has one VM go on.
pub(in crate::cmd) async fn resume_one(client: Client, vm: VmView) -> Result<VmView, CliError> {
    client.post(&vm_path(&vm.id, "/resume"), &serde_json::json!({})).await
}
