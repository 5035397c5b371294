//! `banger vm restart`

use banger_proto::api::RestartVm;

use super::boot::Boot;
use super::machine::WaitArg;
use super::several::SeveralArgs;
use super::stop::GraceArg;
use crate::cmd::Context;
use crate::errors::Outcome;

/// Shut VMs down and boot them again
///
/// Their disks stay as they are. A VM that is down already is booted.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger vm restart -t 5 web")]
pub(crate) struct Args {
    #[command(flatten)]
    several: SeveralArgs,
    #[command(flatten)]
    grace: GraceArg,
    #[command(flatten)]
    wait: WaitArg,
}

pub(crate) async fn restart(context: &Context, args: Args) -> Outcome {
    let boot = Boot {
        call: "/restart",
        request: RestartVm { grace_seconds: args.grace.time, wait: args.wait.into() },
        doing: "restarting",
        interrupted: "interrupted; the restart goes on",
    };
    boot.run(context, args.several).await
}
