//! `banger vm job logs`

use banger_proto::api::AttachToJob;
use banger_proto::exit_code;
use banger_proto::guest::JobOutput;
use clap_complete::ArgValueCandidates;

use super::{JobRef, job_path, outcome, parse_job};
use crate::cmd::Context;
use crate::complete;
use crate::errors::{CliError, Outcome};
use crate::reference::VmRef;
use crate::session::{self, Wiring};
use crate::signals::Signals;

/// Show what a job wrote
///
/// Its output and its errors, apart as it wrote them. With `-f` it goes on until the job ends, and
/// exits with the job's code. The last four megabytes at least are kept; what is gone is said. A
/// terminal is not given control sequences, unless `--raw` asks for them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger vm job logs --tail 20 -f web 3f2a
  banger vm job logs web 3f2a >output 2>errors")]
pub(crate) struct Args {
    /// The VM: name, id or the beginning of an id
    #[arg(add = ArgValueCandidates::new(complete::vms))]
    vm: VmRef,
    /// The job: its id or the beginning of it
    #[arg(value_parser = parse_job)]
    job: JobRef,
    /// Go on until the job ends
    #[arg(short, long)]
    follow: bool,
    /// Begin with the last N lines [default: all]
    #[arg(long, value_name = "N")]
    tail: Option<u32>,
    /// Give a terminal every byte, too
    #[arg(long)]
    raw: bool,
}

pub(crate) async fn logs(context: &Context, args: Args) -> Outcome {
    logs_of(context, args).await.map_err(CliError::in_guest_command)
}

async fn logs_of(context: &Context, args: Args) -> Outcome {
    let mut signals = Signals::ending()?;
    let client = context.daemon(&mut signals).await?;
    let asked = AttachToJob {
        from: Some(args.tail.map_or(JobOutput::Start, JobOutput::Tail)),
        no_follow: !args.follow,
        input: false,
    };
    let path = job_path(&args.vm, &args.job, "/attach");
    let session = signals.race(client.upgrade(&path, &asked)).await?;
    let wiring = Wiring {
        terminal: false,
        raw: false,
        input: false,
        detachable: true,
        filtered: context.ui.stdout_terminal && !args.raw,
        aside: false,
    };
    let ended = session::run(session, wiring, &mut signals).await?;
    if args.follow { outcome(ended, &args.job) } else { Ok(exit_code::OK) }
}
