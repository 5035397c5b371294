//! `banger vm stop`

use banger_proto::api::{StopVm, VmView};
use clap_complete::ArgValueCandidates;

use super::several::for_each;
use crate::client::Client;
use crate::cmd::Context;
use crate::complete;
use crate::errors::{CliError, Outcome};
use crate::progress::{Progress, ProgressArg};
use crate::reference::{VmRef, vm_path};
use crate::signals::Signals;

/// Shut VMs down and keep their disks
///
/// The guest is asked to power off; one that does not in time is killed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger vm stop -t 5 web db")]
pub(crate) struct Args {
    /// The VMs: names, ids or beginnings of ids
    #[arg(required = true, value_name = "VM", add = ArgValueCandidates::new(complete::other_vms))]
    vms: Vec<VmRef>,
    /// Seconds to wait before killing; 0 kills at once [default: 30]
    #[arg(short, long, value_name = "SECONDS")]
    time: Option<u32>,
    #[command(flatten)]
    progress: ProgressArg,
}

pub(crate) async fn stop(context: &Context, args: Args) -> Outcome {
    let mut signals = Signals::ending()?;
    let mut progress = Progress::new(context, args.progress);
    let client = context.daemon(&mut signals).await?;
    let act = |client, vm| stop_one(client, vm, args.time);
    for_each(context, &client, &args.vms, &mut signals, &mut progress, "stopping", act).await
}

/// Stops one VM, given `grace_seconds` to power off by itself.
pub(super) async fn stop_one(
    client: &Client,
    vm: VmView,
    grace_seconds: Option<u32>,
) -> Result<(), CliError> {
    let path = vm_path(&vm.id, "/stop");
    client.post::<VmView>(&path, &StopVm { grace_seconds }).await.map(|_| ())
}
