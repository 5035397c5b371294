//! `banger vm start`

use banger_proto::api::StartVm;

use super::boot::Boot;
use super::machine::WaitArg;
use super::several::SeveralArgs;
use crate::cmd::Context;
use crate::errors::Outcome;

/// Boot VMs that are stopped
///
/// Their disks are as they were left.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger vm start web db")]
pub(crate) struct Args {
    #[command(flatten)]
    several: SeveralArgs,
    #[command(flatten)]
    wait: WaitArg,
}

pub(crate) async fn start(context: &Context, args: Args) -> Outcome {
    let boot = Boot {
        call: "/start",
        request: StartVm { wait: args.wait.into() },
        doing: "booting",
        interrupted: crate::progress::UNDONE,
    };
    boot.run(context, args.several).await
}
