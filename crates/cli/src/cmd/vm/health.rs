//! `banger vm health`

use banger_proto::api::{Usage, VmHealth};
use banger_proto::exit_code;
use clap_complete::ArgValueCandidates;

use super::ping::Patience;
use super::show::render_service;
use crate::cmd::Context;
use crate::complete;
use crate::errors::Outcome;
use crate::reference::{VmRef, vm_path};
use crate::table::render_pairs;

/// Ask a VM's guest how it is
///
/// Agent, uptime, systemd and its failed units, memory and disk. Exits with 1 if a unit or the
/// image's own program has failed, the agent does not answer, or the VM does not run.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger vm health web")]
pub(crate) struct Args {
    /// The VM: name, id or the beginning of an id
    #[arg(add = ArgValueCandidates::new(complete::vms))]
    vm: VmRef,
    #[command(flatten)]
    patience: Patience,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn health(context: &Context, args: Args) -> Outcome {
    let path = vm_path(&args.vm, &format!("/health{}", args.patience.query()));
    let health: VmHealth = context.daemon_to_ask().await?.get(&path).await?;
    if args.json {
        context.ui.print_json(&health)?;
    } else {
        context.ui.print(&render_health(&health))?;
    }
    Ok(if health.healthy { exit_code::OK } else { exit_code::FAILURE })
}

fn render_health(health: &VmHealth) -> String {
    let init = health.init.map(|init| format!("{init:?}, {:?}", health.state).to_lowercase());
    let mut pairs = vec![
        ("name", health.name.to_string()),
        ("healthy", if health.healthy { "yes" } else { "no" }.to_owned()),
        ("agent", health.agent_version.clone()),
        ("boot id", health.boot_id.clone()),
        ("uptime", render_uptime(health.uptime_ms)),
        ("init", init.unwrap_or_default()),
        ("commands", health.commands.to_string()),
        ("memory", render_usage(health.memory)),
        ("disk", render_usage(health.disk)),
    ];
    pairs.extend(health.service.iter().map(|service| ("service", render_service(service))));
    if let Some(system) = &health.system {
        pairs.push(("systemd", system.state.clone()));
        pairs.extend(system.failed_units.iter().map(|unit| ("failed", unit.clone())));
    }
    render_pairs(pairs)
}

/// `1.2 GiB of 8 GiB`; empty when nothing is known.
fn render_usage(usage: Option<Usage>) -> String {
    usage
        .map(|usage| format!("{} of {}", usage.used.human(), usage.total.human()))
        .unwrap_or_default()
}

/// The two largest units that are not zero at the top: `12s`, `3m 4s`, `5h 6m`, `7d 8h`.
fn render_uptime(millis: u64) -> String {
    let seconds = millis / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if days > 0 => format!("{days}d {}h", hours % 24),
        () if hours > 0 => format!("{hours}h {}m", minutes % 60),
        () if minutes > 0 => format!("{minutes}m {}s", seconds % 60),
        () => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptimes_have_two_units() {
        let shown = [999, 61_000, 3_660_000, 90_000_000].map(render_uptime);
        assert_eq!(shown, ["0s", "1m 1s", "1h 1m", "1d 1h"]);
    }
}
