//! `banger vm attach`

use banger_proto::api::{AttachToJob, JobView};
use banger_proto::guest::{JobOutput, JobState};
use clap_complete::ArgValueCandidates;

use super::{JobRef, job_path, outcome, parse_job};
use crate::cmd::Context;
use crate::complete;
use crate::errors::{CliError, Outcome};
use crate::reference::VmRef;
use crate::session::{self, Ended, Wiring};
use crate::signals::Signals;

/// Attach to a job: its output as it comes, its input if it takes any
///
/// Exits with the job's code when it ends. Ctrl-C leaves the job alone and running; the keys of a
/// job with a terminal (`exec -dt`) are the job's own, and Ctrl-P Ctrl-Q leaves it. The end of
/// standard input ends the input of a job that has one (`exec -di`).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger vm attach web 3f2a
  banger vm attach --from-start --no-stdin web 3f2a   all it wrote, and what comes")]
pub(crate) struct Args {
    /// The VM: name, id or the beginning of an id
    #[arg(add = ArgValueCandidates::new(complete::vms))]
    vm: VmRef,
    /// The job: its id or the beginning of it
    #[arg(value_parser = parse_job)]
    job: JobRef,
    /// Begin with all it wrote [default: with what comes]
    #[arg(long)]
    from_start: bool,
    /// Look only: give the job no input
    #[arg(long)]
    no_stdin: bool,
}

pub(crate) async fn attach(context: &Context, args: Args) -> Outcome {
    attach_to(context, args).await.map_err(CliError::in_guest_command)
}

async fn attach_to(context: &Context, args: Args) -> Outcome {
    let mut signals = Signals::ending()?;
    let client = context.daemon(&mut signals).await?;
    let job: JobView = signals.race(client.get(&job_path(&args.vm, &args.job, ""))).await?;
    let input = job.input && job.state == JobState::Running && !args.no_stdin;
    let from = if args.from_start { JobOutput::Start } else { JobOutput::Now };
    let asked = AttachToJob { from: Some(from), no_follow: false, input };
    let path = job_path(&args.vm, &args.job, "/attach");
    let session = signals.race(client.upgrade(&path, &asked)).await?;
    let terminal = job.terminal && input;
    let raw = terminal && context.ui.stdin_terminal;
    let wiring = Wiring { terminal, raw, input, detachable: true, filtered: false, aside: false };
    let ended = session::run(session, wiring, &mut signals).await?;
    if ended == Ended::Detached {
        context.ui.note(context.ui.dim(&format!("detached; job {} goes on", job.id)));
    }
    outcome(ended, &args.job)
}
