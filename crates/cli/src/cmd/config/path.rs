//! `banger config path`

use banger_proto::exit_code;
use serde::Serialize;

use crate::cmd::Context;
use crate::errors::{CliError, Outcome};

/// Print where the configuration file is
///
/// Also where there is none yet, which is said: an absent file is an empty one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger config path")]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What the command tells.
#[derive(Debug, Serialize)]
struct Shown {
    /// The file.
    path: String,
    /// Whether it is there.
    exists: bool,
}

pub(super) fn path(context: &Context, args: &Args) -> Outcome {
    let paths = context.environment.paths.as_ref();
    let paths = paths.map_err(|error| CliError::failure(error.to_string()))?;
    let file = &paths.config_file;
    let shown = Shown { path: file.display().to_string(), exists: file.exists() };
    if args.json {
        context.ui.print_json(&shown)?;
        return Ok(exit_code::OK);
    }
    context.ui.print(&shown.path)?;
    if !shown.exists {
        context.ui.note("note: there is no such file yet, and none is needed");
    }
    Ok(exit_code::OK)
}
