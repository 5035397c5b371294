//! `banger internal make-bundle`

use std::path::{Path, PathBuf};

use banger_proto::{ByteSize, ImageName, exit_code};
use tokio_util::sync::CancellationToken;

use crate::cmd::Context;
use crate::errors::{CliError, Outcome};
use crate::hooks::ImageBundle;
use crate::signals::Signals;

/// Make a bundle of an image: the file that a catalog names by address and SHA-256
///
/// Prints its path, its SHA-256 and its length in bytes, a line each. No daemon is needed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  banger internal make-bundle --rootfs-tar rootfs.tar --name mine --distro debian --out .")]
pub(crate) struct Args {
    /// The archive, in any form that `image import` takes; `-` for standard input
    #[arg(long, value_name = "FILE")]
    rootfs_tar: PathBuf,
    /// Name of the image
    #[arg(long)]
    name: ImageName,
    /// Distribution
    #[arg(long)]
    distro: String,
    /// Architecture
    #[arg(long, default_value = "amd64", value_parser = ["amd64"])]
    arch: String,
    /// Kernel that its VMs boot [default: the default one]
    #[arg(long, value_name = "NAME")]
    kernel_ref: Option<String>,
    /// One line about it
    #[arg(long, default_value = "")]
    description: String,
    /// The most that its files may have together
    #[arg(long)]
    size: Option<ByteSize>,
    /// Directory that the bundle is put into
    #[arg(long, value_name = "DIRECTORY")]
    out: PathBuf,
}

pub(super) async fn make(context: &Context, args: Args) -> Outcome {
    let mut signals = Signals::ending()?;
    let asked = ImageBundle {
        rootfs_tar: (args.rootfs_tar != Path::new("-")).then_some(args.rootfs_tar),
        name: args.name,
        distro: args.distro,
        arch: args.arch,
        kernel_ref: args.kernel_ref,
        description: args.description,
        size: args.size,
        out: args.out,
    };
    let stop = CancellationToken::new();
    let mut work = (context.hooks.make_image_bundle)(asked, stop.clone());
    let made = tokio::select! {
        made = &mut work => made?,
        signal = signals.next() => {
            stop.cancel();
            // It removes what it made; a second signal does not wait for that.
            tokio::select! {
                _ = work => {}
                _ = signals.next() => {}
            }
            return Err(CliError::interrupted(signal, "interrupted"));
        }
    };
    context.ui.print(&made.path.display().to_string())?;
    context.ui.print(&made.sha256)?;
    context.ui.print(&made.size.to_string())?;
    Ok(exit_code::OK)
}
