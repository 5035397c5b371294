//! `banger image import`

use std::path::PathBuf;

use banger_proto::api::{Event, ImportImage};
use banger_proto::exit_code;

use crate::cmd::Context;
use crate::errors::{CliError, Outcome};
use crate::progress::{Progress, ProgressArg};
use crate::signals::Signals;

/// Make an image of a root file system's tar archive
///
/// The archive is not compressed and holds the tree from its top: bin, etc, usr and so on.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger image import --name mine rootfs.tar")]
pub(crate) struct Args {
    /// The archive
    file: PathBuf,
    /// Name of the new image
    #[arg(long)]
    name: String,
    /// Replace an image of that name; VMs keep the one they use
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    progress: ProgressArg,
}

pub(crate) async fn import(context: &Context, args: Args) -> Outcome {
    let mut signals = Signals::ending()?;
    let mut progress = Progress::new(context, args.progress);
    let path = args.file.canonicalize().map_err(|error| {
        CliError::failure(format!("cannot read `{}`", args.file.display())).because(&error)
    })?;
    let path = path
        .into_os_string()
        .into_string()
        .map_err(|path| CliError::failure(format!("path `{}` is not UTF-8", path.display())))?;
    let request = ImportImage { name: args.name, path, force: args.force };
    let client = context.daemon(&mut signals).await?;
    progress.begin("importing the image");
    let mut events = signals.race(client.events("/v1/images/import", &request)).await?;
    match progress.follow(&mut events, &mut signals).await? {
        Event::ImageReady { image } => context.ui.print(&image.name)?,
        other => return Err(super::unexpected(&other)),
    }
    Ok(exit_code::OK)
}
