//! `banger vm set`

use std::collections::{BTreeMap, BTreeSet};

use banger_proto::ByteSize;
use banger_proto::api::{SetVm, Setting, VmView};
use clap_complete::ArgValueCandidates;

use super::machine::{IdlePeriod, Switch, parse_variable};
use super::several::{Several, SeveralArgs};
use crate::client::Client;
use crate::cmd::Context;
use crate::complete;
use crate::errors::{CliError, Outcome};
use crate::reference::vm_path;

/// Change VMs
///
/// A larger disk is there at once, and so is the way beyond the host or its end. Processors, memory,
/// environment and limits of the disks of a VM that runs change at its next start, which is said. Another image is for a VM
/// that is down: its next start is over that image and keeps what is in /root, nothing else.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger vm set --disk-size 20G web
  banger vm set --vcpu 4 --memory 4G --env DEBUG=1 web db
  banger vm set --disk-bandwidth 50M --disk-iops 1000 web
  banger vm set --nat=off web
  banger vm set --image debian-bookworm web")]
#[command(group(clap::ArgGroup::new("changes")
    .args(["vcpu", "memory", "disk_size", "disk_bandwidth", "disk_iops", "image", "env", "unset_env",
        "nat", "autostart", "idle_stop", "idle_pause"])
    .required(true)
    .multiple(true)))]
pub(crate) struct Args {
    #[command(flatten)]
    several: SeveralArgs,
    /// Number of virtual processors
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    vcpu: Option<u32>,
    /// Memory, like 512M or 4G; a bare number means MiB
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// Size of the VM's own disk, like 20G; it can only grow
    #[arg(long, value_name = "SIZE")]
    disk_size: Option<ByteSize>,
    /// Bytes a second that the VM reads and writes of each of its disks at most, like 100M; 0 for no limit
    #[arg(long, value_name = "SIZE")]
    disk_bandwidth: Option<ByteSize>,
    /// Reads and writes a second of each of its disks at most; 0 for no limit
    #[arg(long, value_name = "N")]
    disk_iops: Option<u32>,
    /// Image to boot from now on; what was changed outside of /root is lost
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::images))]
    image: Option<String>,
    /// Environment variable of every command in the VM (can be repeated)
    #[arg(short, long, value_name = "KEY=VAL", value_parser = parse_variable)]
    env: Vec<(String, String)>,
    /// Take a variable away that was given with --env (can be repeated)
    #[arg(long, value_name = "KEY")]
    unset_env: Vec<String>,
    /// Let the VM reach what lies beyond the host, or with --nat=off not any more
    #[arg(long, value_name = "on|off", num_args = 0..=1, require_equals = true,
          default_missing_value = "on", hide_possible_values = true)]
    nat: Option<Switch>,
    /// Start the VM when this host has started, or with --autostart=off not any more
    #[arg(long, value_name = "on|off", num_args = 0..=1, require_equals = true,
          default_missing_value = "on", hide_possible_values = true)]
    autostart: Option<Switch>,
    /// Stop the VM when nobody has used it for so long, like 30m, until it is used again; or off
    #[arg(long, value_name = "PERIOD")]
    idle_stop: Option<IdlePeriod>,
    /// Pause the VM when nobody has used it for so long, like 5m, until it is used again; or off
    #[arg(long, value_name = "PERIOD")]
    idle_pause: Option<IdlePeriod>,
}

pub(crate) async fn set(context: &Context, args: Args) -> Outcome {
    let request = SetVm {
        vcpu: args.vcpu,
        memory: args.memory,
        disk_size: args.disk_size,
        disk_bandwidth: args.disk_bandwidth,
        disk_iops: args.disk_iops,
        image: args.image,
        env: args.env.into_iter().collect::<BTreeMap<_, _>>(),
        unset_env: args.unset_env.into_iter().collect::<BTreeSet<_>>(),
        nat: args.nat.map(Switch::is_on),
        autostart: args.autostart.map(Switch::is_on),
        idle_stop_seconds: args.idle_stop.map(IdlePeriod::seconds),
        idle_pause_seconds: args.idle_pause.map(IdlePeriod::seconds),
    };
    let (mut several, targets) = Several::find(context, args.several).await?;
    let act = |client, vm| set_one(client, vm, &request);
    let results = several.work(targets, "changing", act).await?;
    for line in results.iter().flatten().flat_map(render_pending) {
        context.ui.note(&line);
    }
    several.tell(results)
}

async fn set_one(client: Client, vm: VmView, request: &SetVm) -> Result<VmView, CliError> {
    client.patch(&vm_path(&vm.id, ""), request).await
}

/// What a VM that runs gets at its next start only, a line for each.
fn render_pending(vm: &VmView) -> Vec<String> {
    let what = |setting: &Setting| match setting {
        Setting::Vcpu => format!("{} vcpu", vm.vcpu),
        Setting::Memory => format!("memory {} MiB", vm.memory.mib()),
        Setting::DiskSize => format!("disk of {}", vm.disk_size),
        Setting::DiskLimits => "limits of its disks".to_owned(),
        Setting::Env => "environment".to_owned(),
        Setting::Nat => "the way beyond the host".to_owned(),
    };
    let line = |setting| format!("{}: {} from the next start", vm.name, what(setting));
    vm.pending.iter().map(line).collect()
}
