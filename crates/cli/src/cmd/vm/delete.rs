//! `banger vm delete`

use banger_proto::api::{StateName, VmView};
use clap_complete::ArgValueCandidates;

use super::several::for_each;
use super::stop::stop_one;
use crate::client::Client;
use crate::cmd::Context;
use crate::complete;
use crate::errors::{CliError, Outcome};
use crate::progress::{Progress, ProgressArg};
use crate::reference::{VmRef, vm_path};
use crate::signals::Signals;

/// Stop VMs and remove their disks, for good
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger vm delete web db")]
pub(crate) struct Args {
    /// The VMs: names, ids or beginnings of ids
    #[arg(required = true, value_name = "VM", add = ArgValueCandidates::new(complete::other_vms))]
    vms: Vec<VmRef>,
    /// Do not shut running VMs down first
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    progress: ProgressArg,
}

pub(crate) async fn delete(context: &Context, args: Args) -> Outcome {
    let mut signals = Signals::ending()?;
    let mut progress = Progress::new(context, args.progress);
    let client = context.daemon(&mut signals).await?;
    let act = |client, vm| delete_one(client, vm, args.force);
    for_each(context, &client, &args.vms, &mut signals, &mut progress, "deleting", act).await
}

async fn delete_one(client: &Client, vm: VmView, force: bool) -> Result<(), CliError> {
    let path = vm_path(&vm.id, "");
    if !force && vm.state == StateName::Running {
        // What runs inside may have something to bring to its end elsewhere. Whether it could is
        // of no interest once it is deleted: that ends it, too.
        let _ = stop_one(client, vm, None).await;
    }
    client.delete::<VmView>(&path).await.map(|_| ())
}
