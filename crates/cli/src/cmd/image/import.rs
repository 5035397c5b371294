//! `banger image import`

use std::path::{Path, PathBuf};

use banger_proto::ImageName;
use banger_proto::api::ImportImage;
use clap_complete::ArgValueCandidates;

use crate::cmd::Context;
use crate::complete;
use crate::errors::{CliError, Outcome};
use crate::progress::{Progress, ProgressArg};
use crate::signals::Signals;
use crate::stdin::Input;

/// Make an image of an archive: from `docker save`, an OCI layout, or a root file system's tar
///
/// What it is shows in what it holds; it may be compressed with gzip, zstd, xz or bzip2. An OCI
/// layout may be a directory, too. Of several platforms, linux/amd64 is taken.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger image import --name mine rootfs.tar.zst
  docker save app:1 | banger image import --name app:1 -
  banger run --image mine")]
pub(crate) struct Args {
    /// The archive; `-` for standard input
    file: PathBuf,
    /// Name of the new image
    #[arg(long)]
    name: ImageName,
    /// Replace an image of that name; VMs keep the one they use
    #[arg(long)]
    force: bool,
    /// Kernel that its VMs boot [default: the default one]
    #[arg(long, add = ArgValueCandidates::new(complete::kernels))]
    kernel: Option<String>,
    /// One line about it
    #[arg(long)]
    description: Option<String>,
    #[command(flatten)]
    progress: ProgressArg,
}

pub(crate) async fn import(context: &Context, args: Args) -> Outcome {
    let mut signals = Signals::ending()?;
    let mut progress = Progress::new(context, args.progress);
    let streamed = args.file == Path::new("-");
    if streamed && context.ui.stdin_terminal {
        return Err(CliError::usage("an archive cannot come from a terminal")
            .hint("banger image import --name mine - < rootfs.tar"));
    }
    let request = ImportImage {
        name: args.name,
        path: if streamed { None } else { Some(super::absolute(&args.file)?) },
        kernel: args.kernel,
        description: args.description,
        force: args.force,
    };
    let client = context.daemon(&mut signals).await?;
    progress.begin("importing the image");
    let mut events = if streamed {
        signals.race(client.upload("/v1/images/upload", &request, Input::open())).await?
    } else {
        signals.race(client.events("/v1/images/import", &request)).await?
    };
    super::finish(context, &mut events, &mut progress, &mut signals).await
}
