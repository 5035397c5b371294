//! `banger snapshot create`

use banger_proto::api::{SnapshotView, TakeSnapshot};
use banger_proto::{SnapshotName, exit_code};
use clap_complete::ArgValueCandidates;

use crate::cmd::Context;
use crate::complete;
use crate::errors::Outcome;
use crate::progress::{Progress, ProgressArg};
use crate::reference::{VmRef, vm_path};
use crate::signals::Signals;

/// Take a snapshot of a VM and print its name
///
/// A VM that runs stands still for a moment and goes on. The snapshot is tried before it is kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger snapshot create web before-upgrade")]
pub(crate) struct Args {
    /// The VM
    #[arg(value_name = "VM", add = ArgValueCandidates::new(complete::vms))]
    vm: VmRef,
    /// Name of the snapshot [default: the time]
    #[arg(value_name = "SNAPSHOT")]
    name: Option<SnapshotName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    progress: ProgressArg,
}

pub(crate) async fn create(context: &Context, args: Args) -> Outcome {
    let mut signals = Signals::ending()?;
    let mut progress = Progress::new(context, args.progress);
    let client = context.daemon(&mut signals).await?;
    progress.begin("taking a snapshot");
    let (path, body) = (vm_path(&args.vm, "/snapshots"), TakeSnapshot { name: args.name });
    let taken: SnapshotView = signals.race(client.post(&path, &body)).await?;
    progress.clear();
    if args.json {
        context.ui.print_json(&taken)?;
    } else {
        context.ui.print(taken.name.as_str())?;
    }
    Ok(exit_code::OK)
}
