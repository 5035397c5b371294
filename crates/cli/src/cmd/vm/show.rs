//! `banger vm show`

use banger_proto::api::{EndReason, VmView};
use banger_proto::exit_code;
use banger_proto::guest::ServiceState;
use clap_complete::ArgValueCandidates;

use crate::cmd::Context;
use crate::complete;
use crate::errors::Outcome;
use crate::reference::{VmRef, vm_path};
use crate::table::render_pairs;

/// Show everything about a VM
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger vm show web --json")]
pub(crate) struct Args {
    /// The VM: name, id or the beginning of an id
    #[arg(add = ArgValueCandidates::new(complete::vms))]
    vm: VmRef,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn show(context: &Context, args: Args) -> Outcome {
    let vm: VmView = context.daemon_to_ask().await?.get(&vm_path(&args.vm, "")).await?;
    if args.json {
        context.ui.print_json(&vm)?;
    } else {
        context.ui.print(&render_vm(&vm))?;
    }
    Ok(exit_code::OK)
}

fn render_vm(vm: &VmView) -> String {
    let mut pairs = vec![
        ("name", vm.name.to_string()),
        ("id", vm.id.to_string()),
        ("state", vm.state.as_str().to_owned()),
        ("image", vm.image.clone()),
        ("kernel", vm.kernel.clone()),
        ("backend", format!("{} ({})", vm.backend.vmm, vm.backend.accel)),
        ("vcpu", vm.vcpu.to_string()),
        ("memory", vm.memory.human()),
        ("disk", format!("{} of {}", vm.disk_used.human(), vm.disk_size.human())),
        ("created", vm.created_at.clone()),
        ("started", vm.started_at.clone().unwrap_or_default()),
        ("console", vm.console_log.clone()),
    ];
    if let Some(workspace) = &vm.workspace {
        pairs.push(("workspace", format!("{} at {}", workspace.host_path, workspace.guest_path)));
        pairs.push(("branch", workspace.branch.clone().unwrap_or_default()));
        pairs.push(("head", workspace.head.clone().unwrap_or_default()));
    }
    if let Some(guest) = &vm.guest {
        pairs.push(("guest", format!("{:?} under {:?}", guest.state, guest.init).to_lowercase()));
        pairs.push(("boot id", guest.boot_id.clone()));
        pairs.extend(guest.service.iter().map(|service| ("service", render_service(service))));
    }
    if let Some(ended) = &vm.ended {
        pairs.push(("ended", render_end(ended)));
    }
    if let Some(problem) = &vm.problem {
        pairs.push(("problem", problem.message.clone()));
        pairs.extend(problem.causes.iter().map(|cause| ("cause", cause.clone())));
        pairs.extend(problem.hints.iter().map(|hint| ("hint", hint.clone())));
    }
    render_pairs(pairs)
}

/// How the image's own program is, as a fragment.
pub(super) fn render_service(service: &ServiceState) -> String {
    match service {
        ServiceState::Running { pid } => format!("running (process {pid})"),
        ServiceState::Exited { code: Some(code), .. } => format!("exited with code {code}"),
        ServiceState::Exited { signal: Some(signal), .. } => format!("ended by signal {signal}"),
        ServiceState::Exited { .. } => "ended".to_owned(),
        ServiceState::Failed { reason } => format!("not started: {reason}"),
    }
}

/// How a VM came to be down, for people.
pub(super) fn render_end(ended: &EndReason) -> String {
    match ended {
        EndReason::PoweredOff => "the guest powered off".to_owned(),
        EndReason::Killed => "killed on request".to_owned(),
        EndReason::Failed(how) => format!("the VMM ended by itself: {how}"),
        EndReason::NotStarted => "it has never been started".to_owned(),
        EndReason::Lost => "nobody saw it end".to_owned(),
        EndReason::Untold(why) => format!("nobody can tell how it ended: {why}"),
    }
}
