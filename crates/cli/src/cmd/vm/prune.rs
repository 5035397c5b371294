//! `banger vm prune`

use banger_proto::api::{StateName, VmList, VmView};
use banger_proto::{ByteSize, Code, exit_code};

use super::list::render_list;
use super::several::{Several, TellArgs};
use crate::client::Client;
use crate::cmd::Context;
use crate::confirm::confirm;
use crate::errors::{CliError, Outcome};
use crate::reference::vm_path;

/// Delete every VM that does not run
///
/// Those that are stopped or in error, with their disks, after showing which they are and asking.
/// One that is started meanwhile is left alone.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger vm prune -f")]
pub(crate) struct Args {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    tell: TellArgs,
}

pub(crate) async fn prune(context: &Context, args: Args) -> Outcome {
    let ui = &context.ui;
    let can_ask = ui.stdin_terminal && ui.stderr_terminal;
    if !args.force && !can_ask {
        return Err(CliError::usage("nobody can be asked here, because this is no terminal")
            .hint("`banger vm ls` shows which VMs are down")
            .hint("to delete them without being asked: banger vm prune -f"));
    }
    let mut several = Several::open(context, args.tell).await?;
    let VmList { mut vms } = several.list().await?;
    vms.retain(|vm| matches!(vm.state, StateName::Stopped | StateName::Error));
    if vms.is_empty() {
        ui.note(ui.dim("no VM is down"));
        return several.tell(vec![]);
    }
    let list = VmList { vms };
    if !args.force {
        ui.note(render_list(&list, context.environment.now));
        let question = render_question(&list.vms);
        if !confirm(ui, &mut several.signals, &question).await? {
            ui.note("nothing was deleted");
            return Ok(exit_code::FAILURE);
        }
    }
    let targets = list.vms.into_iter().map(Ok).collect();
    several.each(targets, "deleting", delete_if_down).await
}

async fn delete_if_down(client: Client, vm: VmView) -> Result<VmView, CliError> {
    match client.delete(&vm_path(&vm.id, "?only_down=true")).await {
        // Somebody else was faster.
        Err(error) if *error.code() == Code::NotFound => Ok(vm),
        result => result,
    }
}

fn render_question(vms: &[VmView]) -> String {
    let room = ByteSize::saturating_sum(vms.iter().map(|vm| vm.disk_used)).human();
    match vms {
        [_] => format!("Delete this VM with its disk ({room})?"),
        several => format!("Delete these {} VMs with their disks ({room})?", several.len()),
    }
}
