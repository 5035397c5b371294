//! `banger vm exec`

use banger_proto::api::{JobView, VmView};
use banger_proto::exit_code;
use banger_proto::harmless::render_line;
use clap_complete::ArgValueCandidates;

use super::attach::{AttachArgs, Attachment, attach};
use super::machine::parse_variable;
use super::workspace::prepare_again;
use crate::client::Client;
use crate::cmd::Context;
use crate::complete;
use crate::errors::{CliError, Outcome};
use crate::reference::{VmRef, vm_path};
use crate::repository;
use crate::signals::Signals;

/// Run a command, or a shell, in a running VM
///
/// Input, output, signals and exit code are the command's own; banger's own failures exit with
/// 125. It gets a terminal when input and output are one. With `-d` it becomes a job: its id is
/// printed, and it runs on by itself, without input unless `-i` gives it some;
/// `banger vm attach`, `vm job logs` and `vm jobs` come back to it. A VM with a workspace runs it
/// there; if your repository has moved on to another commit since, that is said first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger vm exec web                       a shell
  banger vm exec web -- make test
  banger vm exec -e DEBUG=1 web -- ./run   with a variable
  banger vm exec -d web -- make test       as a job that goes on by itself
  banger vm exec -dt web                   a shell to attach to
  banger vm exec --auto-prepare web -- make test
                                           with your repository as it is now")]
pub(crate) struct Args {
    /// The VM: name, id or the beginning of an id
    #[arg(add = ArgValueCandidates::new(complete::vms))]
    vm: VmRef,
    /// Environment variable of the command (can be repeated)
    #[arg(short, long, value_name = "KEY=VAL", value_parser = parse_variable)]
    env: Vec<(String, String)>,
    /// Run it as a job: print its id and leave it alone
    #[arg(short, long)]
    detach: bool,
    /// Bring the workspace in again first, as `vm workspace prepare` does
    #[arg(long)]
    auto_prepare: bool,
    #[command(flatten)]
    attach: AttachArgs,
    /// Command and its arguments [default: a shell]
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(crate) async fn exec(context: &Context, args: Args) -> Outcome {
    exec_in(context, args).await.map_err(CliError::in_guest_command)
}

async fn exec_in(context: &Context, args: Args) -> Outcome {
    if args.detach && args.command.is_empty() && !args.attach.tty {
        return Err(CliError::usage("a job needs a command, or a terminal for a shell")
            .hint("a shell to attach to: banger vm exec -dt VM"));
    }
    let mut signals = Signals::ending()?;
    let client = context.daemon(&mut signals).await?;
    let mut vm: VmView = signals.race(client.get(&vm_path(&args.vm, ""))).await?;
    if args.auto_prepare {
        vm = prepare_again(context, &client, &vm, &mut signals).await?;
    } else if let Some(notice) = stale(&vm) {
        context.ui.note(notice);
    }
    if args.detach {
        let (terminal, input) = (args.attach.tty, args.attach.tty || args.attach.interactive);
        let path = vm_path(&vm.id, "/jobs");
        let request = attachment(args).request(context, terminal, input);
        let job: JobView = signals.race(client.post(&path, &request)).await?;
        context.ui.print(job.id.as_str())?;
        return Ok(exit_code::OK);
    }
    attach(context, &client, &vm, attachment(args), &mut signals).await
}

/// A shell in `vm` on our terminal, as without a command; its exit code.
///
/// # Errors
/// As those of the command, with the exit codes of any other.
pub(in crate::cmd) async fn shell(
    context: &Context,
    client: &Client,
    vm: &VmView,
    signals: &mut Signals,
) -> Outcome {
    if let Some(notice) = stale(vm) {
        context.ui.note(notice);
    }
    attach(context, client, vm, Attachment::default(), signals).await
}

fn attachment(args: Args) -> Attachment {
    Attachment {
        args: args.attach,
        argv: args.command,
        entrypoint: false,
        env: args.env.into_iter().collect(),
    }
}

/// What to say when the host's repository is at another commit than when it was brought in. Where it
/// cannot be told, nothing is said.
fn stale(vm: &VmView) -> Option<String> {
    let workspace = vm.workspace.as_ref()?;
    let then = workspace.host_head.as_ref().or(workspace.head.as_ref())?;
    let now = repository::load_head(std::path::Path::new(&workspace.host_path))?;
    (now != *then).then(|| {
        format!(
            "note: {} is at {} now, and was at {} when it came into {name}; \
             bring it in again: banger vm workspace prepare {name}",
            render_line(&workspace.host_path),
            repository::short(&now),
            repository::short(then),
            name = vm.name,
        )
    })
}
