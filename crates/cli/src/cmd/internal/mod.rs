//! `banger internal`: what publishing needs, and nobody else.

mod kernel_bundle;

use clap::Subcommand;

use super::Context;
use crate::errors::Outcome;

/// Tools of those who publish images and kernels
///
/// Users of banger need none of this, and it may change from one version to the next.
#[derive(Debug, Subcommand)]
#[command(
    hide = true,
    after_help = "\
Example:
  banger internal make-bundle kernel --kernel vmlinux --distro debian --description mine --out k.tar.zst"
)]
pub(crate) enum Command {
    #[command(subcommand)]
    MakeBundle(MakeBundle),
}

/// Pack a bundle
///
/// A bundle is a .tar.zst with exactly the files that it should have; a catalog names it with its
/// SHA-256.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Example:
  banger internal make-bundle kernel --kernel vmlinux --distro debian --description mine --out k.tar.zst")]
pub(crate) enum MakeBundle {
    Kernel(kernel_bundle::Args),
}

pub(super) fn run_command(context: &Context, command: Command) -> Outcome {
    match command {
        Command::MakeBundle(MakeBundle::Kernel(args)) => kernel_bundle::make(context, args),
    }
}
