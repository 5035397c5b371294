//! `banger system uninstall`

use banger_proto::exit_code;

use super::check_askable;
use super::status::require_installed;
use crate::cmd::Context;
use crate::confirm::confirm;
use crate::errors::Outcome;
use crate::signals::Signals;
use crate::system::{self, AsOwner, Owner, Turn, list_running, stop_vms, user_directories};

/// Take banger's services off this system; VMs, images and configuration stay
///
/// Removes what `system install` wrote, and nothing else. VMs that run are stopped first, as their
/// owner would. Afterwards the owner's VMs can be started without any service.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  sudo banger system uninstall")]
pub(crate) struct Args {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(super) async fn uninstall(context: &Context, args: Args) -> Outcome {
    let ui = &context.ui;
    context.environment.require_root("banger system uninstall")?;
    let turn = Turn::take()?;
    let record = require_installed()?;
    check_askable(ui, args.yes, "sudo banger system uninstall")?;
    let banger = record.prefix.join("bin/banger");
    // An owner whose account is gone has no VMs that somebody could ask for.
    let owner = Owner::find(Some(&record.uid.to_string()), None).ok();
    let as_owner = owner.as_ref().map(|owner| AsOwner { banger: &banger, owner });
    let mut running = Vec::new();
    if let Some(as_owner) = as_owner {
        match list_running(as_owner).await {
            Ok(vms) => running = vms,
            // Services that are broken are what somebody may want to be rid of.
            Err(error) => {
                error.show(ui);
                ui.note("which VMs run is not known: their processes are ended with the services");
            }
        }
    }
    for file in &record.files {
        ui.note(format!("removes {}", file.display()));
    }
    if !running.is_empty() {
        let names: Vec<&str> = running.iter().map(|vm| vm.name.as_str()).collect();
        ui.note(format!("stops {}", names.join(", ")));
    }
    for dir in owner.iter().flat_map(user_directories) {
        ui.note(format!("keeps {}", dir.display()));
    }
    if !args.yes && !confirm(ui, &mut Signals::ending()?, "Take banger off this system?").await? {
        ui.note("nothing was changed");
        return Ok(exit_code::FAILURE);
    }
    if let Some(as_owner) = as_owner {
        stop_vms(as_owner, &running).await?;
    }
    system::uninstall(&record).await?;
    drop(turn);
    ui.note("banger is no service of this system any more");
    Ok(exit_code::OK)
}
