//! `banger vm list`, and `banger ps`

use banger_proto::api::{StateName, VmList, VmView};
use banger_proto::exit_code;
use jiff::Timestamp;

use crate::age::render_age;
use crate::cmd::Context;
use crate::errors::Outcome;
use crate::table::render_table;

/// List VMs
///
/// All of them, oldest first; `banger ps` lists those that run.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger vm list --json")]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// List running VMs
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger ps")]
pub(crate) struct PsArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn list(context: &Context, args: Args) -> Outcome {
    let list = load(context).await?;
    print(context, &list, args.json)
}

pub(crate) async fn ps(context: &Context, args: PsArgs) -> Outcome {
    let mut list = load(context).await?;
    list.vms.retain(|vm| matches!(vm.state, StateName::Running | StateName::Paused));
    print(context, &list, args.json)
}

async fn load(context: &Context) -> Result<VmList, crate::errors::CliError> {
    context.daemon_to_ask().await?.get("/v1/vms").await
}

fn print(context: &Context, list: &VmList, json: bool) -> Outcome {
    if json {
        context.ui.print_json(list)?;
    } else {
        context.ui.print(&render_list(list, context.environment.now))?;
    }
    Ok(exit_code::OK)
}

/// The table of VMs.
pub(super) fn render_list(list: &VmList, now: Timestamp) -> String {
    let headings = ["NAME", "STATE", "IMAGE", "VCPU", "MEM", "DISK", "ADDRESS", "WORKSPACE", "AGE"];
    render_table(&headings, list.vms.iter().map(|vm| row(vm, now)))
}

fn row(vm: &VmView, now: Timestamp) -> Vec<String> {
    vec![
        vm.name.to_string(),
        match vm.is_asleep() {
            true => format!("{} (idle)", vm.state.as_str()),
            false => vm.state.as_str().to_owned(),
        },
        vm.image.clone(),
        vm.vcpu.to_string(),
        vm.memory.human(),
        format!("{}/{}", vm.disk_used.human(), vm.disk_size.human()),
        vm.loopback.or(vm.address).map(|address| address.to_string()).unwrap_or_default(),
        vm.workspace.as_ref().map(|workspace| workspace.host_path.clone()).unwrap_or_default(),
        render_age(&vm.created_at, now),
    ]
}
