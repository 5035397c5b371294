//! `banger image show`

use banger_proto::api::{ImageDetails, ImageView, RunConfig};
use banger_proto::exit_code;
use clap_complete::ArgValueCandidates;

use crate::cmd::Context;
use crate::complete;
use crate::errors::Outcome;
use crate::reference::image_path;
use crate::table::render_pairs;

/// Show everything about an image, and the VMs that were made from it
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger image show debian-bookworm --json")]
pub(crate) struct Args {
    /// The image
    #[arg(add = ArgValueCandidates::new(complete::images))]
    image: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn show(context: &Context, args: Args) -> Outcome {
    let client = context.daemon_to_ask().await?;
    let details: ImageDetails = client.get(&image_path(&args.image, "")).await?;
    if args.json {
        context.ui.print_json(&details)?;
    } else {
        context.ui.print(&render(&details))?;
    }
    Ok(exit_code::OK)
}

fn render(details: &ImageDetails) -> String {
    let image = &details.image;
    let mut pairs = vec![
        ("name", image.name.clone()),
        ("description", image.description.clone()),
        ("source", image.source.clone().unwrap_or_default()),
        ("distro", image.distro.clone()),
        ("arch", image.arch.clone()),
        ("kernel", image.kernel.clone().unwrap_or_else(|| "the default one".to_owned())),
        ("digest", image.digest.clone().unwrap_or_default()),
        ("size", image.size.human()),
        ("created", image.created_at.clone().unwrap_or_default()),
        ("file", render_file(image)),
    ];
    pairs.extend(render_run(&image.run));
    pairs.push(("vms", details.vms.join(", ")));
    render_pairs(pairs)
}

fn render_file(image: &ImageView) -> String {
    let path = image.path.clone().unwrap_or_default();
    match (image.registered, image.gone) {
        (_, true) => format!("{path} (gone)"),
        (true, false) => format!("{path} (your own)"),
        (false, false) => path,
    }
}

/// What an image says about running it, as far as it says something.
fn render_run(run: &RunConfig) -> Vec<(&'static str, String)> {
    let mut pairs: Vec<_> =
        run.env.iter().map(|(name, value)| ("env", format!("{name}={value}"))).collect();
    let texts = [("workdir", &run.working_dir), ("user", &run.user), ("stop", &run.stop_signal)];
    pairs.extend(texts.into_iter().filter_map(|(label, text)| Some((label, text.clone()?))));
    let words = [("entrypoint", &run.entrypoint), ("command", &run.cmd)];
    let words = words.into_iter().filter(|(_, words)| !words.is_empty());
    pairs.extend(words.map(|(label, words)| (label, words.join(" "))));
    pairs
}
