//! `banger internal`: for those who publish what others use; not for every day, and not shown.

mod build_elsewhere;
mod image_bundle;
mod kernel_bundle;
mod man;

use clap::Subcommand;

use super::Context;
use crate::errors::Outcome;

/// For those who publish images and kernels, and who package banger
///
/// A bundle is a .tar.zst with exactly the files that it should have; a catalog names it with its
/// SHA-256. Users of banger need none of this, and it may change from one version to the next.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Example:
  banger internal make-bundle --rootfs-tar rootfs.tar --name mine --distro debian --out .")]
pub(crate) enum Command {
    MakeBundle(image_bundle::Args),
    MakeKernelBundle(kernel_bundle::Args),
    Man(man::Args),
    #[command(hide = true)]
    BuildElsewhere(build_elsewhere::Args),
}

pub(super) async fn run_command(context: &Context, command: Command) -> Outcome {
    match command {
        Command::BuildElsewhere(args) => build_elsewhere::build(context, args),
        Command::MakeBundle(args) => image_bundle::make(context, args).await,
        Command::MakeKernelBundle(args) => kernel_bundle::make(context, args),
        Command::Man(args) => man::write(context, &args),
    }
}
