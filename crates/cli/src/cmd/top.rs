//! `banger top`

use banger_proto::api::{StartVm, VmView};

use crate::client::Client;
use crate::cmd::{Context, vm};
use crate::errors::{CliError, Outcome};
use crate::signals::Signals;
use crate::top::{self, Act};

/// Watch all VMs on one screen, and work on them with keys
///
/// What they are, what they use, what happens to them. Looking wakes no VM and counts as use of none.
/// `?` shows the keys, `q` leaves.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  banger top
Without a terminal:
  banger vm ls
  banger vm stats --watch")]
pub(crate) struct Args {}

pub(crate) async fn top(context: &Context, _args: Args) -> Outcome {
    let ui = &context.ui;
    if !ui.interactive() || !context.environment.can_animate() {
        return Err(CliError::usage("`banger top` needs a terminal, and this is none to draw on")
            .hint("the VMs as a list: banger vm ls")
            .hint("what they use, line by line: banger vm stats --watch"));
    }
    let mut signals = Signals::ending()?;
    let client = context.daemon(&mut signals).await?;
    top::run(context, client, &mut signals).await
}

/// Does `act` to `vm`, as the command does that is named like it.
///
/// # Errors
/// When it could not be done.
pub(crate) async fn act(client: Client, vm: VmView, act: Act) -> Result<(), CliError> {
    let done = match act {
        Act::Start => vm::boot::boot_one(client, vm, "/start", StartVm::default()).await,
        Act::Stop => vm::stop::stop_one(client, vm, None).await,
        Act::Pause => vm::pause::pause_one(client, vm).await,
        Act::Resume => vm::resume::resume_one(client, vm).await,
        Act::Delete => vm::delete::delete_one(client, vm, false).await,
    };
    done.map(drop)
}

/// A shell in `vm`, which has the terminal until it ends; its exit code.
///
/// # Errors
/// When there is none, or a signal ended it.
pub(crate) async fn shell(
    context: &Context,
    client: &Client,
    vm: &VmView,
    signals: &mut Signals,
) -> Outcome {
    context.ui.note(context.ui.dim(&format!("a shell in `{}`; its end goes back", vm.name)));
    vm::exec::shell(context, client, vm, signals).await
}
