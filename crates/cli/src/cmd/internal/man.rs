//! `banger internal man`

use std::path::PathBuf;

use banger_proto::exit_code;
use clap::CommandFactory as _;

use crate::cmd::{Cli, Context};
use crate::errors::{CliError, Outcome};
use crate::manual::render_pages;

/// Write the manual: a page for each command, banger.1, banger-vm-run.1 and so on
///
/// Prints the path of each. Pages that are there are replaced. No daemon is needed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger internal man /usr/local/share/man/man1")]
pub(crate) struct Args {
    /// Directory that the pages are put into; made where there is none
    directory: PathBuf,
}

pub(super) fn write(context: &Context, args: &Args) -> Outcome {
    let failed = |error: &std::io::Error| {
        CliError::failure(format!("cannot write the manual to `{}`", args.directory.display()))
            .because(error)
    };
    std::fs::create_dir_all(&args.directory).map_err(|error| failed(&error))?;
    for page in render_pages(Cli::command()).map_err(|error| failed(&error))? {
        let path = args.directory.join(page.file);
        std::fs::write(&path, page.text).map_err(|error| failed(&error))?;
        context.ui.print(&path.display().to_string())?;
    }
    Ok(exit_code::OK)
}
