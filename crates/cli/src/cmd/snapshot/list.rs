//! `banger snapshot list`

use banger_proto::api::{SnapshotList, SnapshotView};
use banger_proto::exit_code;
use clap_complete::ArgValueCandidates;

use crate::age::render_age;
use crate::cmd::Context;
use crate::complete;
use crate::errors::Outcome;
use crate::reference::VmRef;
use crate::table::render_table;

/// List the snapshots of a VM, or of all
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger snapshot list web")]
pub(crate) struct Args {
    /// The VM
    #[arg(value_name = "VM", add = ArgValueCandidates::new(complete::vms))]
    vm: Option<VmRef>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn list(context: &Context, args: Args) -> Outcome {
    let of = args.vm.map(|vm| format!("?vm={vm}")).unwrap_or_default();
    let client = context.daemon_to_ask().await?;
    let list: SnapshotList = client.get(&format!("/v1/snapshots{of}")).await?;
    if args.json {
        context.ui.print_json(&list)?;
    } else {
        let now = context.environment.now;
        let row = |snapshot: SnapshotView| {
            let holds = if snapshot.memory { "disk and memory" } else { "disk" };
            vec![
                snapshot.vm_name.to_string(),
                snapshot.name.to_string(),
                holds.to_owned(),
                snapshot.size.human(),
                render_age(&snapshot.taken_at, now),
            ]
        };
        let headings = ["VM", "NAME", "HOLDS", "SIZE", "AGE"];
        context.ui.print(&render_table(&headings, list.snapshots.into_iter().map(row)))?;
    }
    Ok(exit_code::OK)
}
