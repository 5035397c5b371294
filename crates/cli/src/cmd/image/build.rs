//! `banger image build`

use banger_proto::api::ObtainImage;
use clap_complete::ArgValueCandidates;

use crate::cmd::Context;
use crate::complete;
use crate::errors::Outcome;
use crate::progress::{Progress, ProgressArg};
use crate::signals::Signals;

/// Make an image from its recipe now
///
/// VMs that exist keep the image they were made from.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger image build --force")]
pub(crate) struct Args {
    /// Name of the recipe [default: the default image's]
    #[arg(add = ArgValueCandidates::new(complete::images))]
    name: Option<String>,
    /// Make it again even if it is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    progress: ProgressArg,
}

pub(crate) async fn build(context: &Context, args: Args) -> Outcome {
    let mut signals = Signals::ending()?;
    let mut progress = Progress::new(context, args.progress);
    let client = context.daemon(&mut signals).await?;
    let request = ObtainImage { name: args.name, force: args.force };
    progress.begin("making the image");
    let mut events = signals.race(client.events("/v1/images/build", &request)).await?;
    super::finish(context, &mut events, &mut progress, &mut signals).await
}
