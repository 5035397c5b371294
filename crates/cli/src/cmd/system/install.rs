//! `banger system install`

use banger_proto::{BridgeName, exit_code};

use super::check_askable;
use crate::cmd::Context;
use crate::confirm::confirm;
use crate::errors::{CliError, Outcome};
use crate::signals::Signals;
use crate::system::{Installation, Owner, Record, Turn, check_manager};
use crate::table::render_pairs;

/// Make banger a service of this system, for one user
///
/// The daemon runs as that user from boot on, and VMs outlive its restarts; a small helper changes the
/// host's network. What is written is shown, with why, and you are asked. Data stays where it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo banger system install
  sudo banger system install --owner jo --yes
  banger system install --dry-run")]
pub(crate) struct Args {
    /// User whose VMs it runs [default: who called sudo]
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
    /// What the VMs' bridge is called [default: br-fc, or as installed]
    #[arg(long, value_name = "NAME")]
    bridge: Option<BridgeName>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Only show what would be written
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

pub(super) async fn install(context: &Context, args: Args) -> Outcome {
    let (ui, environment) = (&context.ui, &context.environment);
    let mut turn = None;
    if !args.dry_run {
        environment.require_root("banger system install")?;
        check_manager()?;
        check_askable(ui, args.yes, "sudo banger system install")?;
        turn = Some(Turn::take()?);
    }
    // Who only looks need not be root.
    let own = (args.dry_run && environment.uid != 0).then(|| environment.uid.to_string());
    let caller = environment.sudo_uid.clone().or(own);
    let owner = Owner::find(args.owner.as_deref(), caller.as_deref())?;
    let executable = environment.exe.as_ref().map_err(|error| {
        CliError::failure("cannot tell where this program is, to install it").because(error)
    })?;
    let installation = Installation::plan(owner, executable, args.bridge, Record::load()?)?;
    if args.dry_run {
        for unit in installation.units() {
            ui.print(&format!("# {}: {}\n{}", unit.path.display(), unit.purpose, unit.text))?;
        }
        return Ok(exit_code::OK);
    }
    installation.check_own_vms()?;
    let name = &installation.owner.name;
    if !args.yes {
        ui.note(render_pairs(installation.rows()));
        ui.note(format!(
            "The services start now and at each boot: the daemon as `{name}`, and as root, with no more \
             than the rights to change networks, a helper."
        ));
        let question = match installation.is_again() {
            true => format!("Install banger for `{name}` again?"),
            false => format!("Make banger a service of this system, for `{name}`?"),
        };
        if !confirm(ui, &mut Signals::ending()?, &question).await? {
            ui.note("nothing was changed");
            return Ok(exit_code::FAILURE);
        }
    } else {
        for (path, purpose) in installation.rows() {
            ui.note(ui.dim(&format!("{path}: {purpose}")));
        }
    }
    installation.perform().await?;
    drop(turn);
    ui.note(format!(
        "banger is a service of this system, for `{name}`; see `banger system status`"
    ));
    Ok(exit_code::OK)
}
