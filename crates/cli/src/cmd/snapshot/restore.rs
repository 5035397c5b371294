//! `banger snapshot restore`

use banger_proto::api::{Event, RestoreSnapshot};
use banger_proto::{SnapshotName, exit_code};
use clap_complete::ArgValueCandidates;

use crate::cmd::Context;
use crate::complete;
use crate::confirm::confirm;
use crate::errors::{CliError, Outcome};
use crate::progress::{Progress, ProgressArg};
use crate::reference::{VmRef, vm_path};
use crate::signals::Signals;

/// What a signal leaves under way.
const GOES_ON: &str = "interrupted; the VM is taken back all the same";

/// Take a VM back to a snapshot
///
/// Its disk, and its memory if it ran then: everything in it goes on from there. What it has become
/// since is given up, so this asks first. What it may reach, and its name, stay as they are.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger snapshot restore -f web before-upgrade")]
pub(crate) struct Args {
    /// The VM
    #[arg(value_name = "VM", add = ArgValueCandidates::new(complete::vms))]
    vm: VmRef,
    /// The snapshot
    #[arg(value_name = "SNAPSHOT", add = ArgValueCandidates::new(complete::snapshots))]
    snapshot: SnapshotName,
    /// Only its disk: the VM is down afterwards
    #[arg(long)]
    disk: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    progress: ProgressArg,
}

pub(crate) async fn restore(context: &Context, args: Args) -> Outcome {
    let ui = &context.ui;
    let can_ask = ui.stdin_terminal && ui.stderr_terminal;
    let (vm, name) = (&args.vm, &args.snapshot);
    if !args.force && !can_ask {
        return Err(CliError::usage("nobody can be asked here, because this is no terminal")
            .hint(format!("to keep what it is now: banger snapshot create {vm}"))
            .hint(format!(
                "to go back without being asked: banger snapshot restore -f {vm} {name}"
            )));
    }
    let mut signals = Signals::ending()?;
    let mut progress = Progress::new(context, args.progress);
    let client = context.daemon(&mut signals).await?;
    let question = format!("Give up what `{vm}` is now, for what it was at `{name}`?");
    if !args.force && !confirm(ui, &mut signals, &question).await? {
        ui.note("nothing was changed");
        return Ok(exit_code::FAILURE);
    }
    let path = vm_path(vm, &format!("/snapshots/{name}/restore"));
    let body = RestoreSnapshot { disk_only: args.disk };
    let events = client.events(&path, &body);
    let mut events = signals.race_or(GOES_ON, events).await?;
    let vm = match progress.follow_or(GOES_ON, &mut events, &mut signals).await? {
        Event::VmReady { vm, .. } | Event::Restored { vm } => vm,
        other => {
            let message = format!("the daemon ended the request with something else: {other:?}");
            return Err(CliError::failure(message));
        }
    };
    ui.print(vm.name.as_str())?;
    Ok(exit_code::OK)
}
