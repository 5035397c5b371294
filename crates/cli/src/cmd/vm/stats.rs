//! `banger vm stats`

use std::time::Duration;

use banger_proto::api::{StatsReport, VmStats};
use banger_proto::{ByteSize, exit_code};
use clap_complete::ArgValueCompleter;
use tokio::time::{Instant, sleep};

use crate::client::{Client, Events};
use crate::cmd::Context;
use crate::complete;
use crate::errors::{CliError, Outcome};
use crate::reference::VmRef;
use crate::table::render_table;
use crate::terminal;
use crate::ui::Ui;

/// How long a daemon that went away may take to be followed by the next one: an update takes a moment.
const HANDOVER: Duration = Duration::from_secs(5);
/// Between two looks for it.
const AGAIN: Duration = Duration::from_millis(100);

/// Show what VMs use: processors, memory, disks
///
/// Of the host (VMM and supervisor) and in the guest; 100% is one processor. A table on a
/// terminal, JSON elsewhere. The numbers are those of one second, and so is the wait for them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  banger vm stats\n  banger vm stats --watch web db")]
pub(crate) struct Args {
    /// The VMs: names, ids or beginnings of ids [default: all]
    #[arg(value_name = "VM", add = ArgValueCompleter::new(complete::other_vms))]
    vms: Vec<VmRef>,
    /// Go on every second until Ctrl-C; as JSON, one object a line
    #[arg(short, long)]
    watch: bool,
    /// Print JSON on a terminal, too
    #[arg(long)]
    json: bool,
}

pub(crate) async fn stats(context: &Context, args: Args) -> Outcome {
    let vms: Vec<String> = args.vms.iter().map(ToString::to_string).collect();
    let path = format!("/v1/stats?vms={}&follow={}", vms.join(","), args.watch);
    let client = context.daemon_to_ask().await?;
    let mut reports: Events<StatsReport> = client.follow(&path).await?;
    let ui = &context.ui;
    let table = ui.stdout_terminal && !args.json;
    if !args.watch {
        let report = reports.next().await?;
        if table {
            ui.print(&render_report(&report))?;
        } else {
            ui.print_json(&report)?;
        }
        return Ok(exit_code::OK);
    }
    let mut screen = Screen::default();
    loop {
        let report = match reports.next().await {
            Err(error) if error.is_lost() => {
                reports = follow_next(&client, &path, error).await?;
                continue;
            }
            next => next?,
        };
        if table {
            screen.show(ui, &render_report(&report))?;
        } else {
            ui.print_json_line(&report)?;
        }
    }
}

/// Asks the daemon that comes after one that went away with `lost`. Whoever only looks on keeps no
/// daemon from being replaced, and starts none that somebody has stopped.
async fn follow_next(
    client: &Client,
    path: &str,
    lost: CliError,
) -> Result<Events<StatsReport>, CliError> {
    let until = Instant::now() + HANDOVER;
    loop {
        match client.follow(path).await {
            Err(error) if error.is_lost() && Instant::now() < until => sleep(AGAIN).await,
            Err(error) if error.is_lost() => return Err(lost),
            next => return next,
        }
    }
}

/// A text on the terminal in the place of the one before it.
#[derive(Debug, Default)]
struct Screen {
    /// Lines that are shown.
    lines: usize,
}

impl Screen {
    fn show(&mut self, ui: &Ui, text: &str) -> Result<(), CliError> {
        let size = terminal::size();
        let text = fit(text, size.cols.into(), size.rows.into());
        // Up to the first line, and everything from there on away (ECMA-48: CUU, ED).
        if self.lines > 0 {
            ui.print_bytes(format!("\x1b[{}A\r\x1b[J", self.lines).as_bytes())?;
        }
        ui.print(&text)?;
        self.lines = text.lines().count();
        Ok(())
    }
}

/// As much of `text` as a terminal shows without wrapping or scrolling, the line below included:
/// only then is it known where the text begins.
fn fit(text: &str, columns: usize, rows: usize) -> String {
    let lines = text.lines().take(rows.saturating_sub(1).max(1));
    let cut = lines.map(|line| line.chars().take(columns).collect::<String>());
    cut.collect::<Vec<_>>().join("\n")
}

fn render_report(report: &StatsReport) -> String {
    let headings = ["NAME", "STATE", "HOST CPU", "HOST MEM", "CPU", "MEM", "DISK"];
    render_table(&headings, report.vms.iter().map(row))
}

fn row(vm: &VmStats) -> Vec<String> {
    let (host, guest) = (vm.host.as_ref(), vm.guest.as_ref());
    let host_cpu = host.and_then(|host| Some(host.vmm.cpu_percent? + host.supervisor.cpu_percent?));
    let host_memory =
        host.map(|host| host.vmm.rss.bytes().saturating_add(host.supervisor.rss.bytes()));
    let memory = guest.map_or_else(
        || format!("-/{}", vm.memory.human()),
        |guest| format!("{}/{}", guest.memory.used.human(), guest.memory.total.human()),
    );
    let disk = guest.map_or(vm.disk, |guest| guest.disk);
    vec![
        vm.name.to_string(),
        vm.state.as_str().to_owned(),
        render_percent(host_cpu),
        host_memory.map(|bytes| ByteSize::from_bytes(bytes).human()).unwrap_or_default(),
        render_percent(guest.and_then(|guest| guest.cpu_percent)),
        memory,
        format!("{}/{}", disk.used.human(), disk.total.human()),
    ]
}

fn render_percent(percent: Option<f64>) -> String {
    percent.map(|percent| format!("{percent:.1}%")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_terminal_shows_the_top() {
        assert_eq!(fit("abcd\nef\ngh", 3, 3), "abc\nef");
        assert_eq!(fit("abcd\nef", 80, 24), "abcd\nef");
        assert_eq!(fit("abcd\nef", 80, 0), "abcd");
    }
}
