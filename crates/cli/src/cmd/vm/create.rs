//! `banger vm create`

use banger_proto::api::{Entrypoint, EntrypointOptions, Event};
use banger_proto::exit_code;

use super::machine::MachineArgs;
use super::run::unexpected;
use crate::cmd::Context;
use crate::errors::Outcome;
use crate::progress::{Progress, ProgressArg};
use crate::signals::Signals;

/// Make a VM and print its id
///
/// For scripts: waits until the VM is ready, prints nothing else, and leaves it running. Tools that a
/// workspace names are not installed; `banger vm exec VM -- mise install` does that.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger vm create --name ci --vcpu 2 --memory 2G
  banger vm create --name db --image postgres --entrypoint  the image's program, as a service")]
pub(crate) struct Args {
    #[command(flatten)]
    machine: MachineArgs,
    /// Make the VM without booting it
    #[arg(long, conflicts_with_all = ["path", "wait"])]
    no_start: bool,
    /// Run the image's own program as a service: at every boot, its output in `banger vm logs`
    #[arg(long)]
    entrypoint: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    progress: ProgressArg,
    /// Arguments of the image's own program, instead of those the image has for it
    #[arg(last = true, value_name = "ARGUMENT", requires = "entrypoint")]
    arguments: Vec<String>,
}

pub(crate) async fn create(context: &Context, args: Args) -> Outcome {
    let mut request = args.machine.into_request(context)?;
    request.no_start = args.no_start;
    request.entrypoint = args.entrypoint.then(|| {
        let args = args.arguments;
        Entrypoint::Service(EntrypointOptions { args, ..EntrypointOptions::default() })
    });
    let mut signals = Signals::ending()?;
    let mut progress = Progress::new(context, args.progress);
    let client = context.daemon(&mut signals).await?;
    let mut events = signals.race(client.events("/v1/vms", &request)).await?;
    match progress.follow(&mut events, &mut signals).await? {
        Event::VmReady { vm, .. } if args.json => context.ui.print_json(&vm)?,
        Event::VmReady { vm, .. } => context.ui.print(vm.id.as_str())?,
        other => return Err(unexpected(&other)),
    }
    Ok(exit_code::OK)
}
