//! `banger image promote`

use clap_complete::ArgValueCandidates;

use crate::cmd::Context;
use crate::complete;
use crate::errors::Outcome;
use crate::progress::{Progress, ProgressArg};
use crate::reference::image_path;
use crate::signals::Signals;

/// Copy a registered image to where images are, so that its own file is not needed any more
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger image promote mine")]
pub(crate) struct Args {
    /// The image
    #[arg(add = ArgValueCandidates::new(complete::images))]
    image: String,
    #[command(flatten)]
    progress: ProgressArg,
}

pub(crate) async fn promote(context: &Context, args: Args) -> Outcome {
    let mut signals = Signals::ending()?;
    let mut progress = Progress::new(context, args.progress);
    let client = context.daemon(&mut signals).await?;
    progress.begin("copying the image");
    let path = image_path(&args.image, "/promote");
    let mut events = signals.race(client.events(&path, &serde_json::json!({}))).await?;
    super::finish(context, &mut events, &mut progress, &mut signals).await
}
