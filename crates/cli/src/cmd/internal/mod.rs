//! `banger internal`: for those who publish what others use; not for every day, and not shown.

mod image_bundle;

use clap::Subcommand;

use super::Context;
use crate::errors::Outcome;

/// For those who publish images and kernels
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Example:
  banger internal make-bundle --rootfs-tar rootfs.tar --name mine --distro debian --out .")]
pub(crate) enum Command {
    MakeBundle(image_bundle::Args),
}

pub(super) async fn run_command(context: &Context, command: Command) -> Outcome {
    match command {
        Command::MakeBundle(args) => image_bundle::make(context, args).await,
    }
}
