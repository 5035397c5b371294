//! `banger vm delete`

use banger_proto::api::{StateName, VmView};

use super::several::{Several, SeveralArgs};
use super::stop::stop_one;
use crate::client::Client;
use crate::cmd::Context;
use crate::errors::{CliError, Outcome};
use crate::reference::vm_path;

/// Shut VMs down and remove their disks, for good
///
/// Nothing is asked; `prune` deletes what does not run, and asks.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger vm delete web db")]
pub(crate) struct Args {
    #[command(flatten)]
    several: SeveralArgs,
    /// Kill those that run instead of shutting them down
    #[arg(short, long)]
    force: bool,
}

pub(crate) async fn delete(context: &Context, args: Args) -> Outcome {
    let (several, targets) = Several::find(context, args.several).await?;
    let act = |client, vm| delete_one(client, vm, args.force);
    several.each(targets, "deleting", act).await
}

/// Deletes one VM; one that runs is shut down before, unless `force`.
pub(in crate::cmd) async fn delete_one(
    client: Client,
    vm: VmView,
    force: bool,
) -> Result<VmView, CliError> {
    let path = vm_path(&vm.id, "");
    if !force && matches!(vm.state, StateName::Running | StateName::Paused) {
        // What runs inside may have something to bring to its end elsewhere. Whether it could is
        // of no interest once it is deleted: that ends it, too.
        let _ = stop_one(client.clone(), vm, None).await;
    }
    client.delete(&path).await
}
