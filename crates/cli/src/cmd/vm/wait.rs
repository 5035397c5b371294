//! `banger vm wait`

use banger_proto::api::{EndReason, StateName, VmCondition, VmView, WaitVm};
use banger_proto::{Code, Problem, exit_code};
use clap::ValueEnum;

use super::several::{Several, SeveralArgs};
use super::show::render_end;
use crate::client::Client;
use crate::cmd::Context;
use crate::errors::{CliError, Outcome};
use crate::reference::vm_path;

/// Wait until VMs are ready, stopped or deleted
///
/// Exits with 0 when all of them are; with 1 when one cannot become so, or ended in a failure; with
/// 124 when the time is over. A VM that is stopped can become ready: by whoever starts it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger vm wait web db
  banger vm wait --for stopped --timeout 600 web")]
pub(crate) struct Args {
    #[command(flatten)]
    several: SeveralArgs,
    /// What to wait for: ready, system (the image's own init has finished), stopped, or deleted
    #[arg(
        long = "for",
        value_name = "STATE",
        default_value = "ready",
        hide_possible_values = true
    )]
    until: Until,
    /// Give up after so many seconds [default: never]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
}

/// What `--for` takes.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Until {
    Ready,
    System,
    Stopped,
    Deleted,
}

impl From<Until> for VmCondition {
    fn from(until: Until) -> Self {
        match until {
            Until::Ready => Self::Ready,
            Until::System => Self::System,
            Until::Stopped => Self::Stopped,
            Until::Deleted => Self::Deleted,
        }
    }
}

pub(crate) async fn wait(context: &Context, args: Args) -> Outcome {
    let request = WaitVm { until: args.until.into(), timeout_seconds: args.timeout };
    let (several, targets) = Several::find(context, args.several).await?;
    if let VmCondition::Ready | VmCondition::System = request.until {
        let found = targets.iter().filter_map(|target| target.as_ref().ok());
        for VmView { name, .. } in found.filter(|vm| vm.state == StateName::Stopped) {
            let way = format!("VM `{name}` is stopped until it is started: banger vm start {name}");
            several.progress.remark(&way);
        }
    }
    several.each(targets, "waiting", |client, vm| wait_one(client, vm, request.clone())).await
}

async fn wait_one(client: Client, vm: VmView, request: WaitVm) -> Result<VmView, CliError> {
    let answer = client.post::<VmView>(&vm_path(&vm.id, "/wait"), &request).await;
    match (answer, request.until) {
        (Ok(vm), VmCondition::Stopped) => ended_well(vm),
        // It was listed a moment ago.
        (Err(error), VmCondition::Deleted) if *error.code() == Code::NotFound => Ok(vm),
        (Err(error), _) if *error.code() == Code::Timeout => {
            Err(error.exiting(exit_code::TIMED_OUT))
        }
        (answer, _) => answer,
    }
}

/// A VM that is down, unless something went wrong on the way there.
fn ended_well(vm: VmView) -> Result<VmView, CliError> {
    let failed = |why: String| {
        let message = format!("VM `{}` did not end well", vm.name);
        let problem = Problem::new(Code::OperationFailed, message).cause(why);
        CliError::from(problem.hint(format!("banger vm logs {}", vm.name)))
    };
    match (&vm.problem, &vm.ended) {
        (Some(problem), _) => Err(failed(problem.message.clone())),
        (None, Some(how @ (EndReason::Failed(_) | EndReason::Lost))) => {
            Err(failed(render_end(how)))
        }
        _ => Ok(vm),
    }
}
