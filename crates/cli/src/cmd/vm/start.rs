//! `banger vm start`

use banger_proto::api::{Event, StartVm, VmList, VmView};
use banger_proto::exit_code;
use clap_complete::ArgValueCandidates;

use super::machine::Wait;
use super::several::for_each;
use crate::client::Client;
use crate::cmd::Context;
use crate::complete;
use crate::errors::{CliError, Outcome};
use crate::progress::{Progress, ProgressArg};
use crate::reference::{VmRef, resolve_one, vm_path};
use crate::signals::Signals;

/// Boot VMs that are stopped
///
/// Their disks are as they were left.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger vm start web db")]
pub(crate) struct Args {
    /// The VMs: names, ids or beginnings of ids
    #[arg(required = true, value_name = "VM", add = ArgValueCandidates::new(complete::other_vms))]
    vms: Vec<VmRef>,
    /// What ready means: commands run (agent), or the image's own init has finished (system)
    #[arg(long, value_name = "FOR", default_value = "agent", hide_possible_values = true)]
    wait: Wait,
    #[command(flatten)]
    progress: ProgressArg,
}

pub(crate) async fn start(context: &Context, args: Args) -> Outcome {
    let mut signals = Signals::ending()?;
    let mut progress = Progress::new(context, args.progress);
    let client = context.daemon(&mut signals).await?;
    let request = StartVm { wait: args.wait.into() };
    if let [reference] = &args.vms[..] {
        let list: VmList = signals.race(client.get("/v1/vms")).await?;
        let vm = resolve_one(reference, &list.vms)?;
        // With its stages, as `vm run` shows them; those of several at once would say little.
        let path = vm_path(&vm.id, "/start");
        let mut events = signals.race(client.events(&path, &request)).await?;
        progress.follow(&mut events, &mut signals).await?;
        context.ui.print(vm.name.as_str())?;
        return Ok(exit_code::OK);
    }
    let act = |client, vm| start_one(client, vm, request.clone());
    for_each(context, &client, &args.vms, &mut signals, &mut progress, "booting", act).await
}

async fn start_one(client: &Client, vm: VmView, request: StartVm) -> Result<(), CliError> {
    let mut events = client.events(&vm_path(&vm.id, "/start"), &request).await?;
    loop {
        match events.next().await? {
            Event::VmReady { .. } => return Ok(()),
            Event::Failed { problem } => {
                return Err(CliError::from(problem).of_operation(events.op_id()));
            }
            _ => {}
        }
    }
}
