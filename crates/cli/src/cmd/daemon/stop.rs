//! `banger daemon stop`

use banger_proto::exit_code;

use crate::client::{self, Presence, find};
use crate::cmd::Context;
use crate::errors::Outcome;

/// End the daemon; VMs keep running
///
/// Waits until it has ended. The next command that needs a daemon starts one, also where it is a
/// service of the system: `sudo systemctl stop bangerd.socket` ends that for good.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger daemon stop")]
pub(crate) struct Args {}

pub(crate) async fn stop(context: &Context, _args: Args) -> Outcome {
    match find(&context.environment).await? {
        Presence::Absent => context.ui.note("the daemon is not running"),
        Presence::Running(client) => {
            let status = client::stop(&client).await?;
            if status.vms_running > 0 {
                context.ui.note(format!("{} VMs keep running", status.vms_running));
            }
        }
    }
    Ok(exit_code::OK)
}
