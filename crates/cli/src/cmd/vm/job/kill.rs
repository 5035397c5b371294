//! `banger vm job kill`

use banger_proto::api::{JobView, SignalJob};
use banger_proto::{exit_code, signal};
use clap_complete::ArgValueCandidates;

use super::{JobRef, job_path, parse_job};
use crate::cmd::Context;
use crate::complete;
use crate::errors::Outcome;
use crate::reference::VmRef;

/// Send a signal to a job
///
/// It reaches all processes of the job's process group. Prints the job's id.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger vm job kill web 3f2a
  banger vm job kill -s KILL web 3f2a")]
pub(crate) struct Args {
    /// The VM: name, id or the beginning of an id
    #[arg(add = ArgValueCandidates::new(complete::vms))]
    vm: VmRef,
    /// The job: its id or the beginning of it
    #[arg(value_parser = parse_job)]
    job: JobRef,
    /// Signal, by name or number
    #[arg(short, long, default_value = "TERM", value_parser = parse_signal)]
    signal: u8,
}

pub(crate) async fn kill(context: &Context, args: Args) -> Outcome {
    let path = job_path(&args.vm, &args.job, "/kill");
    let asked = SignalJob { signal: Some(args.signal) };
    let job: JobView = context.daemon_to_ask().await?.post(&path, &asked).await?;
    context.ui.print(job.id.as_str())?;
    Ok(exit_code::OK)
}

fn parse_signal(text: &str) -> Result<u8, String> {
    signal::parse(text).ok_or_else(|| "no signal of Linux: try TERM, INT, KILL or 1 to 64".into())
}
