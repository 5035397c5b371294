//! `banger internal build-elsewhere`

use std::path::PathBuf;

use crate::builder;
use crate::cmd::Context;
use crate::environment;
use crate::errors::Outcome;

/// Have a program run by the service that builds images
///
/// For the daemon, where it is a service of the system and may not do that itself.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service's socket
    socket: PathBuf,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    words: Vec<String>,
}

pub(super) fn build(context: &Context, args: Args) -> Outcome {
    let directory = context.environment.require_cwd()?.to_owned();
    builder::ask(&args.socket, args.words, directory, environment::variables())
}
