//! `banger vm show`

use banger_proto::api::{EndReason, Publish, Setting, VmChange, VmView};
use banger_proto::guest::ServiceState;
use banger_proto::{ByteSize, exit_code};
use clap_complete::ArgValueCandidates;

use crate::cmd::Context;
use crate::complete;
use crate::errors::Outcome;
use crate::progress::render_seconds;
use crate::reference::{VmRef, vm_path};
use crate::table::{render_pairs, render_table};

/// Changes that are shown to people.
const SHOWN_CHANGES: usize = 10;

/// Show everything about a VM, and what became of it lately
///
/// The last ten changes of its state are shown, with who brought them about, how long that took,
/// and the operation id by which the daemon's log tells more. --json has the last hundred.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger vm show web
  banger vm show web --json")]
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
        ("state", render_state(vm)),
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
    let limits = vm.disk_bandwidth.map(ByteSize::human).into_iter();
    let limits: Vec<_> =
        limits.chain(vm.disk_iops.map(|iops| format!("{iops} operations"))).collect();
    if !limits.is_empty() {
        pairs.push(("disk limits", format!("{} a second", limits.join(" and "))));
    }
    let reached = |address| format!("{address} ({}.vm)", vm.name);
    pairs.extend(vm.loopback.map(|address| ("reached at", reached(address))));
    let lead = |publish: &Publish| format!("{} to port {}", publish.endpoint(), publish.guest);
    pairs.extend(vm.published.iter().map(|publish| ("published", lead(publish))));
    pairs.push(("network", render_network(vm)));
    if !vm.host_ports.is_empty() {
        let ports: Vec<_> = vm.host_ports.iter().map(|port| format!("host.vm:{port}")).collect();
        pairs.push(("host ports", ports.join(", ")));
    }
    if !vm.pending.is_empty() {
        let pending: Vec<_> = vm.pending.iter().map(|setting| describe(*setting)).collect();
        pairs.push(("next start", format!("brings {}", pending.join(", "))));
    }
    if let Some(workspace) = &vm.workspace {
        pairs.push(("workspace", format!("{} at {}", workspace.host_path, workspace.guest_path)));
        pairs.push(("branch", workspace.branch.clone().unwrap_or_default()));
        pairs.push(("head", workspace.head.clone().unwrap_or_default()));
        let untracked = if workspace.include_untracked { ", with untracked files" } else { "" };
        pairs.push(("brought", format!("{}{untracked}", workspace.mode.as_str())));
        pairs.push(("prepared", workspace.prepared_at.clone().unwrap_or_default()));
    }
    if let Some(guest) = &vm.guest {
        pairs.push(("guest", format!("{:?} under {:?}", guest.state, guest.init).to_lowercase()));
        if guest.agent_gone {
            let way_out = format!("gone, so commands do not run: banger vm restart {}", vm.name);
            pairs.push(("agent", way_out));
        }
        pairs.push(("boot id", guest.boot_id.clone()));
        pairs.extend(guest.service.iter().map(|service| ("service", render_service(service))));
    }
    pairs.extend(vm.idle_pause_seconds.map(|period| ("idle pause", format!("after {period}"))));
    pairs.extend(vm.idle_stop_seconds.map(|period| ("idle stop", format!("after {period}"))));
    if vm.autostart {
        pairs.push(("autostart", "with the host".to_owned()));
    }
    if let Some(ended) = &vm.ended {
        pairs.push(("ended", render_end(ended)));
    }
    if let Some(problem) = &vm.problem {
        pairs.push(("problem", problem.message.clone()));
        pairs.extend(problem.causes.iter().map(|cause| ("cause", cause.clone())));
        pairs.extend(problem.hints.iter().map(|hint| ("hint", hint.clone())));
    }
    let pairs = render_pairs(pairs);
    if vm.history.is_empty() { pairs } else { format!("{pairs}\n\n{}", render_history(vm)) }
}

/// Its state, and whether it leaves that by itself.
fn render_state(vm: &VmView) -> String {
    let state = vm.state.as_str();
    match (vm.paused_idle_seconds, &vm.ended) {
        (Some(idle), _) => format!("{state}, idle for {idle}: goes on by itself when it is used"),
        (None, Some(EndReason::Idle(_))) => format!("{state}: starts by itself when it is used"),
        _ => state.to_owned(),
    }
}

/// Its address, while it has one, and what it reaches.
fn render_network(vm: &VmView) -> String {
    let reaches = if vm.nat { "reaches beyond the host" } else { "reaches other VMs only" };
    match vm.address {
        Some(address) => format!("{address}, {reaches}"),
        None => reaches.to_owned(),
    }
}

/// The last changes, oldest first, so that the present state stands at the end.
fn render_history(vm: &VmView) -> String {
    let shown = &vm.history[vm.history.len().saturating_sub(SHOWN_CHANGES)..];
    let row = |change: &VmChange| {
        let why = change.ended.as_ref().map(render_end).or_else(|| change.problem.clone());
        vec![
            without_fraction(&change.at),
            change.state.as_str().to_owned(),
            change.cause.as_str().to_owned(),
            change.took_ms.map(render_seconds).unwrap_or_default(),
            change.op.as_ref().map(ToString::to_string).unwrap_or_default(),
            why.unwrap_or_default(),
        ]
    };
    render_table(&["WHEN", "STATE", "BY", "TOOK", "OP", "HOW"], shown.iter().map(row))
}

/// `2026-08-05T12:00:00.123Z` → `2026-08-05T12:00:00Z`.
fn without_fraction(time: &str) -> String {
    match time.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => time.to_owned(),
    }
}

fn describe(setting: Setting) -> &'static str {
    match setting {
        Setting::Vcpu => "vcpu",
        Setting::Memory => "memory",
        Setting::DiskSize => "disk size",
        Setting::DiskLimits => "limits of its disks",
        Setting::Env => "environment",
        Setting::Nat => "the way beyond the host",
    }
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
        EndReason::Restored => "it was taken back to a snapshot's disk".to_owned(),
        EndReason::Idle(period) => format!("idle for {period}"),
        EndReason::Lost => "nobody saw it end".to_owned(),
        EndReason::Untold(why) => format!("nobody can tell how it ended: {why}"),
    }
}
