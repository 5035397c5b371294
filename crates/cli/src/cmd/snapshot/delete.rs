//! `banger snapshot delete`

use banger_proto::api::SnapshotView;
use banger_proto::{SnapshotName, exit_code};
use clap_complete::{ArgValueCandidates, ArgValueCompleter};

use crate::cmd::Context;
use crate::complete;
use crate::errors::{CliError, Outcome};
use crate::reference::{VmRef, vm_path};

/// Delete snapshots of a VM
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger snapshot delete web before-upgrade")]
pub(crate) struct Args {
    /// The VM
    #[arg(value_name = "VM", add = ArgValueCandidates::new(complete::vms))]
    vm: VmRef,
    /// The snapshots
    #[arg(
        required = true,
        value_name = "SNAPSHOT",
        add = ArgValueCompleter::new(complete::other_snapshots)
    )]
    snapshots: Vec<SnapshotName>,
}

pub(crate) async fn delete(context: &Context, args: Args) -> Outcome {
    let client = context.daemon_to_ask().await?;
    let mut failed = false;
    for name in args.snapshots {
        let path = vm_path(&args.vm, &format!("/snapshots/{name}"));
        match client.delete::<SnapshotView>(&path).await {
            Ok(snapshot) => context.ui.print(snapshot.name.as_str())?,
            Err(error) => {
                failed = true;
                error.show(&context.ui);
            }
        }
    }
    if failed { Err(CliError::reported()) } else { Ok(exit_code::OK) }
}
