//! `banger vm jobs`

use banger_proto::api::{JobList, JobView};
use banger_proto::exit_code;
use banger_proto::guest::JobState;
use clap_complete::ArgValueCandidates;

use crate::cmd::Context;
use crate::complete;
use crate::errors::Outcome;
use crate::reference::{VmRef, vm_path};
use crate::table::render_table;

/// List a VM's jobs
///
/// Those that run and the last that ended, oldest first. `banger vm exec -d` starts one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger vm jobs web
  banger vm jobs web --json")]
pub(crate) struct Args {
    /// The VM: name, id or the beginning of an id
    #[arg(add = ArgValueCandidates::new(complete::vms))]
    vm: VmRef,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn list(context: &Context, args: Args) -> Outcome {
    let jobs: JobList = context.daemon_to_ask().await?.get(&vm_path(&args.vm, "/jobs")).await?;
    if args.json {
        context.ui.print_json(&jobs)?;
    } else {
        context.ui.print(&render_jobs(&jobs))?;
    }
    Ok(exit_code::OK)
}

fn render_jobs(jobs: &JobList) -> String {
    let headings = ["JOB", "STATE", "EXIT", "STARTED", "ENDED", "COMMAND"];
    render_table(&headings, jobs.jobs.iter().map(row))
}

fn row(job: &JobView) -> Vec<String> {
    let (state, exit) = match job.state {
        JobState::Running => ("running", String::new()),
        JobState::Exited { code: Some(code), .. } => ("exited", code.to_string()),
        JobState::Exited { signal: Some(signal), .. } => ("exited", format!("signal {signal}")),
        JobState::Exited { .. } => ("exited", String::new()),
        JobState::Lost => ("lost", String::new()),
    };
    let command =
        if job.command.is_empty() { "(a shell)".to_owned() } else { job.command.join(" ") };
    vec![
        job.id.to_string(),
        state.to_owned(),
        exit,
        seconds(&job.started_at),
        job.ended_at.as_deref().map(seconds).unwrap_or_default(),
        command,
    ]
}

/// A time without the fractions of its seconds.
fn seconds(time: &str) -> String {
    match time.parse::<jiff::Timestamp>() {
        Ok(time) => format!("{}", time.strftime("%FT%TZ")),
        Err(_) => String::new(),
    }
}
