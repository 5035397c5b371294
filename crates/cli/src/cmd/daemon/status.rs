//! `banger daemon status`

use banger_proto::api::DaemonStatus;
use banger_proto::exit_code;

use crate::client::{Presence, find, paths};
use crate::cmd::Context;
use crate::errors::{CliError, Outcome};
use crate::table::render_pairs;

/// Show the daemon: version, process, log, number of VMs
///
/// Exits with 1 if none runs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger daemon status --json")]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn status(context: &Context, args: Args) -> Outcome {
    let Presence::Running(client) = find(&context.environment).await? else {
        let log = paths(&context.environment)?.daemon_log();
        return Err(CliError::failure("the daemon is not running")
            .hint("the next command that needs it starts it, and so does `banger daemon start`")
            .hint(format!("what it did last: `banger daemon logs`, from `{}`", log.display())));
    };
    let status = client.status().await?;
    if args.json {
        context.ui.print_json(&status)?;
    } else {
        context.ui.print(&render_status(&status))?;
    }
    Ok(exit_code::OK)
}

fn render_status(status: &DaemonStatus) -> String {
    render_pairs([
        ("version", status.version.clone()),
        ("interface", status.api_version.to_string()),
        ("build", status.build.clone()),
        ("pid", status.pid.to_string()),
        ("started", status.started_at.clone()),
        ("log", status.log.clone()),
        ("state", status.state_dir.clone()),
        ("vms", format!("{} ({} running)", status.vms, status.vms_running)),
        ("requests", status.busy.to_string()),
    ])
}
