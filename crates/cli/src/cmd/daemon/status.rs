//! `banger daemon status`

use banger_proto::api::{DaemonStatus, DnsStatus, NetworkMode, NetworkStatus};
use banger_proto::exit_code;

use crate::client::{Presence, find, paths};
use crate::cmd::Context;
use crate::errors::{CliError, Outcome};
use crate::table::render_pairs;

/// Show the daemon: version, process, log, number of VMs, network, names
///
/// Exits with 1 if none runs. A service of the system is started by being asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger daemon status --json")]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn status(context: &Context, args: Args) -> Outcome {
    let Presence::Running(client) = find(&context.environment).await? else {
        let paths = paths(&context.environment)?;
        if paths.is_serviced() {
            return Err(CliError::failure("the service of banger does not run")
                .hint("sudo systemctl restart bangerd.socket bangerd.service")
                .hint("more about it: banger system status"));
        }
        let log = paths.daemon_log();
        return Err(CliError::failure("the daemon is not running")
            .hint("the next command that needs it starts it, and so does `banger daemon start`")
            .hint(format!("what it did last: `banger daemon logs`, from `{}`", log.display())));
    };
    let status = client.status().await?;
    if args.json {
        context.ui.print_json(&status)?;
    } else {
        context.ui.print(&render_status(&status))?;
    }
    Ok(exit_code::OK)
}

fn render_status(status: &DaemonStatus) -> String {
    render_pairs([
        ("version", status.version.clone()),
        ("interface", status.api_version.to_string()),
        ("build", status.build.clone()),
        ("pid", status.pid.to_string()),
        ("started", status.started_at.clone()),
        ("log", status.log.clone()),
        ("state", status.state_dir.clone()),
        ("vms", format!("{} ({} running)", status.vms, status.vms_running)),
        ("requests", status.busy.to_string()),
        ("network", render_network(&status.network)),
        ("names", render_dns(&status.dns)),
    ])
}

fn render_network(network: &NetworkStatus) -> String {
    match network {
        NetworkStatus { problem: Some(problem), .. } => {
            format!("none: {problem}; `banger doctor` says what to do")
        }
        NetworkStatus { subnet: Some(subnet), vms, way_out, mode, .. } => {
            let vms = match vms {
                1 => "1 VM".to_owned(),
                vms => format!("{vms} VMs"),
            };
            let way_out = if *way_out { "open" } else { "closed" };
            format!("{subnet} {}, {vms}, way out {way_out}", render_mode(*mode))
        }
        NetworkStatus { mode, .. } => format!("made when a VM needs it, {}", render_mode(*mode)),
    }
}

fn render_mode(mode: NetworkMode) -> &'static str {
    match mode {
        NetworkMode::User => "in a network of your own",
        NetworkMode::System => "in the host's network",
    }
}

fn render_dns(dns: &DnsStatus) -> String {
    match dns {
        DnsStatus { listen: Some(listen), .. } => format!("answered at {listen}"),
        DnsStatus { problem: Some(problem), .. } => {
            format!(
                "not answered: {problem}; `dns_listen` in the configuration chooses another port"
            )
        }
        _ => "not answered (dns_listen = \"off\")".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_the_network_is() {
        let up = NetworkStatus {
            subnet: Some("172.30.0.0/24".parse().unwrap()),
            vms: 2,
            way_out: true,
            ..NetworkStatus::default()
        };
        let shown = "172.30.0.0/24 in a network of your own, 2 VMs, way out open";
        assert_eq!(render_network(&up), shown);
        let mode = NetworkMode::System;
        let one = NetworkStatus { vms: 1, way_out: false, mode, ..up };
        let shown = "172.30.0.0/24 in the host's network, 1 VM, way out closed";
        assert_eq!(render_network(&one), shown);
        let none = NetworkStatus { problem: Some("it is forbidden".to_owned()), ..one };
        let shown = "none: it is forbidden; `banger doctor` says what to do";
        assert_eq!(render_network(&none), shown);
        let shown = "made when a VM needs it, in a network of your own";
        assert_eq!(render_network(&NetworkStatus::default()), shown);
    }

    #[test]
    fn why_names_are_not_answered() {
        let taken = DnsStatus { problem: Some("it is taken".to_owned()), ..DnsStatus::default() };
        assert_eq!(
            render_dns(&taken),
            "not answered: it is taken; `dns_listen` in the configuration chooses another port"
        );
        assert_eq!(render_dns(&DnsStatus::default()), "not answered (dns_listen = \"off\")");
    }
}
