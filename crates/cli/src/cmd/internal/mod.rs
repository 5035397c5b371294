//! `banger internal`: what publishing needs, and nobody else.

mod kernel_bundle;

use clap::Subcommand;

use super::Context;
use crate::errors::Outcome;

/// Tools of those who publish images and kernels
#[derive(Debug, Subcommand)]
#[command(hide = true)]
pub(crate) enum Command {
    #[command(subcommand)]
    MakeBundle(MakeBundle),
}

/// Pack a bundle
#[derive(Debug, Subcommand)]
pub(crate) enum MakeBundle {
    Kernel(kernel_bundle::Args),
}

pub(super) fn run_command(context: &Context, command: Command) -> Outcome {
    match command {
        Command::MakeBundle(MakeBundle::Kernel(args)) => kernel_bundle::make(context, args),
    }
}
