//! `banger image register`

use std::path::PathBuf;

use banger_proto::ImageName;
use banger_proto::api::{ImageView, RegisterImage};
use banger_proto::exit_code;
use clap_complete::ArgValueCandidates;

use crate::cmd::Context;
use crate::complete;
use crate::errors::Outcome;

/// Use an ext4 file system of your own as an image; the file stays where it is
///
/// It is only read, and must not change while VMs use it. `image promote` copies it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger image register mine --rootfs /srv/mine.ext4
  banger run --image mine")]
pub(crate) struct Args {
    /// Name of the new image
    name: ImageName,
    /// The ext4 file
    #[arg(long, value_name = "FILE")]
    rootfs: PathBuf,
    /// Kernel that its VMs boot, by name; `kernel import` takes one of your own [default: the default one]
    #[arg(long, add = ArgValueCandidates::new(complete::kernels))]
    kernel: Option<String>,
    /// One line about it
    #[arg(long)]
    description: Option<String>,
    /// Replace an image of that name; VMs keep the one they use
    #[arg(long)]
    force: bool,
}

pub(crate) async fn register(context: &Context, args: Args) -> Outcome {
    let request = RegisterImage {
        name: args.name,
        rootfs: super::absolute(&args.rootfs)?,
        kernel: args.kernel,
        description: args.description,
        force: args.force,
    };
    let client = context.daemon_to_ask().await?;
    let image: ImageView = client.post("/v1/images/register", &request).await?;
    context.ui.print(&image.name)?;
    Ok(exit_code::OK)
}
