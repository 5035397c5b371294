//! `banger vm fork`

use banger_proto::api::{ForkVm, Forked, MAX_FORKS, VmList};
use banger_proto::{VmName, exit_code};
use clap_complete::ArgValueCandidates;

use crate::cmd::Context;
use crate::complete;
use crate::errors::{CliError, Outcome};
use crate::progress::{Progress, ProgressArg};
use crate::reference::{VmRef, vm_path};
use crate::signals::Signals;

/// Make VMs that go on where one that runs is now
///
/// Each copy has its disk, its memory and all that runs in it, and an identity of its own: name,
/// address, machine id, host keys. Commands find its number, from 1, in BANGER_FORK_INDEX. Published
/// ports stay with the VM itself.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger vm fork web
  banger vm fork web -n 4
  banger vm fork web --name left --name right")]
pub(crate) struct Args {
    /// The VM
    #[arg(value_name = "VM", add = ArgValueCandidates::new(complete::vms))]
    vm: VmRef,
    /// How many copies [default: one, or as many as there are names]
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_FORKS)))]
    count: Option<u32>,
    /// Name of a copy [default: the VM's with a number]
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<VmName>,
    /// Print JSON: the copies
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    progress: ProgressArg,
}

pub(crate) async fn fork(context: &Context, args: Args) -> Outcome {
    let named = u32::try_from(args.names.len()).unwrap_or(u32::MAX);
    let count = args.count.unwrap_or(named.max(1));
    if named > count {
        return Err(CliError::usage(format!("{named} names are more than {count} copies need")));
    }
    let mut signals = Signals::ending()?;
    let mut progress = Progress::new(context, args.progress);
    let client = context.daemon(&mut signals).await?;
    progress.begin("copying");
    let body = ForkVm { count, names: args.names };
    let path = vm_path(&args.vm, "/fork");
    let Forked { vms, .. } = signals.race(client.post(&path, &body)).await?;
    progress.clear();
    if args.json {
        context.ui.print_json(&VmList { vms })?;
    } else {
        for vm in vms {
            context.ui.print(vm.name.as_str())?;
        }
    }
    Ok(exit_code::OK)
}
