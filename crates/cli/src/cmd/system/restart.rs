//! `banger system restart`

use banger_proto::exit_code;

use super::status::require_installed;
use crate::cmd::Context;
use crate::errors::Outcome;
use crate::system::{self, AsOwner, Owner};

/// Restart the services; VMs live on
///
/// Waits until the daemon answers again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  sudo banger system restart")]
pub(crate) struct Args {}

pub(super) async fn restart(context: &Context, _args: Args) -> Outcome {
    context.environment.require_root("banger system restart")?;
    let record = require_installed()?;
    let owner = Owner::find(Some(&record.uid.to_string()), None)?;
    system::restart().await?;
    let banger = record.prefix.join("bin/banger");
    system::check_daemon(AsOwner { banger: &banger, owner: &owner }).await?;
    Ok(exit_code::OK)
}
