//! `banger image pull`

use banger_proto::api::ObtainImage;
use clap_complete::ArgValueCandidates;

use crate::cmd::Context;
use crate::complete;
use crate::errors::Outcome;
use crate::progress::{Progress, ProgressArg};
use crate::signals::Signals;

/// Get an image now: one of the catalog, or any OCI image from its registry
///
/// Nobody has to: an image is got when a VM first needs it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger image pull alpine
  banger image pull localhost:5000/team/app:1 --force")]
pub(crate) struct Args {
    /// Name in the catalog, or OCI reference
    #[arg(add = ArgValueCandidates::new(complete::images))]
    image: String,
    /// Get it again even if it is here; VMs keep the one they use
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    progress: ProgressArg,
}

pub(crate) async fn pull(context: &Context, args: Args) -> Outcome {
    let mut signals = Signals::ending()?;
    let mut progress = Progress::new(context, args.progress);
    let client = context.daemon(&mut signals).await?;
    let request = ObtainImage { name: Some(args.image), force: args.force };
    progress.begin("getting the image");
    let mut events = signals.race(client.events("/v1/images/pull", &request)).await?;
    super::finish(context, &mut events, &mut progress, &mut signals).await
}
