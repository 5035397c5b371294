//! `banger vm jobs`, `banger vm attach`, `banger vm job`

pub(super) mod attach;
mod kill;
pub(super) mod list;
mod logs;

use banger_proto::guest::ExecExit;
use clap::Subcommand;

use crate::cmd::Context;
use crate::errors::{CliError, Outcome};
use crate::reference::{VmRef, vm_path};
use crate::session::Ended;

/// Read what a job wrote, and end it
///
/// A job is a command that goes on by itself, until it or its VM ends: `banger vm exec -d` starts
/// one. The last that ended are kept with their output and exit code.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Start here:
  banger vm exec -d web -- make test
Then:
  banger vm jobs web
  banger vm job logs -f web 3f2a
  banger vm job kill web 3f2a")]
pub(crate) enum Command {
    Logs(logs::Args),
    Kill(kill::Args),
}

pub(super) async fn run_command(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Logs(args) => logs::logs(context, args).await,
        Command::Kill(args) => kill::kill(context, args).await,
    }
}

/// A job as people name it: its id or the beginning of that.
#[derive(Debug, Clone)]
pub(super) struct JobRef(String);

/// Reads a job's id or its beginning.
pub(super) fn parse_job(text: &str) -> Result<JobRef, String> {
    let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if (1..=banger_proto::id::ID_LEN).contains(&text.len()) && text.bytes().all(digits) {
        Ok(JobRef(text.to_owned()))
    } else {
        Err("a job's id is 12 of the characters 0-9 and a-f; its beginning will do".to_owned())
    }
}

/// Path of a call about a job.
fn job_path(vm: &VmRef, job: &JobRef, call: &str) -> String {
    vm_path(vm, &format!("/jobs/{}{call}", job.0))
}

/// The exit code of somebody who followed a job.
fn outcome(ended: Ended, job: &JobRef) -> Outcome {
    match ended {
        Ended::Exit(ExecExit { code: None, signal: None }) => {
            Err(CliError::failure(format!("nobody saw how job `{}` ended", job.0))
                .hint("its VM went down, or the agent that waited for it was killed"))
        }
        Ended::Exit(exit) => Ok(exit.shell_code()),
        Ended::Open | Ended::Detached => Ok(banger_proto::exit_code::OK),
    }
}
