//! `banger vm stop`

use banger_proto::api::{StopVm, VmView};

use super::several::{Several, SeveralArgs};
use crate::client::Client;
use crate::cmd::Context;
use crate::errors::{CliError, Outcome};
use crate::reference::vm_path;

/// Shut VMs down and keep their disks
///
/// The guest is asked to power off; one that does not in time is killed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger vm stop -t 5 web db")]
pub(crate) struct Args {
    #[command(flatten)]
    several: SeveralArgs,
    #[command(flatten)]
    grace: GraceArg,
}

/// How long a guest is waited for.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct GraceArg {
    /// Seconds to wait before killing; 0 kills at once [default: 30]
    #[arg(short, long = "time", value_name = "SECONDS")]
    pub(super) time: Option<u32>,
}

pub(crate) async fn stop(context: &Context, args: Args) -> Outcome {
    let (several, targets) = Several::find(context, args.several).await?;
    let act = |client, vm| stop_one(client, vm, args.grace.time);
    several.each(targets, "stopping", act).await
}

/// Stops one VM, given `grace_seconds` to power off by itself.
pub(in crate::cmd) async fn stop_one(
    client: Client,
    vm: VmView,
    grace_seconds: Option<u32>,
) -> Result<VmView, CliError> {
    client.post(&vm_path(&vm.id, "/stop"), &StopVm { grace_seconds }).await
}
