//! `banger kernel pull`

use banger_proto::api::{Event, ObtainKernel};
use banger_proto::exit_code;
use clap_complete::ArgValueCandidates;

use crate::cmd::Context;
use crate::complete;
use crate::errors::Outcome;
use crate::progress::{Progress, ProgressArg};
use crate::signals::Signals;

/// Get a kernel now
///
/// Without this it is got when a VM first needs it. VMs that exist keep the kernel they were made
/// with, also after `--force`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger kernel pull
  banger kernel pull --force debian-bookworm-cloud")]
pub(crate) struct Args {
    /// Name of the kernel [default: the default kernel's]
    #[arg(add = ArgValueCandidates::new(complete::kernels))]
    name: Option<String>,
    /// Get it again even if it is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    progress: ProgressArg,
}

pub(crate) async fn pull(context: &Context, args: Args) -> Outcome {
    let mut signals = Signals::ending()?;
    let mut progress = Progress::new(context, args.progress);
    let client = context.daemon(&mut signals).await?;
    let request = ObtainKernel { name: args.name, force: args.force };
    progress.begin("getting the kernel");
    let mut events = signals.race(client.events("/v1/kernels/pull", &request)).await?;
    match progress.follow(&mut events, &mut signals).await? {
        Event::KernelReady { kernel } => context.ui.print(&kernel.name)?,
        other => return Err(super::unexpected(&other)),
    }
    Ok(exit_code::OK)
}
