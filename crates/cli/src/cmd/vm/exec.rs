//! `banger vm exec`

use banger_proto::api::VmView;
use clap_complete::ArgValueCandidates;

use super::attach::{AttachArgs, Attachment, attach};
use super::machine::parse_variable;
use crate::cmd::Context;
use crate::complete;
use crate::errors::{CliError, Outcome};
use crate::reference::{VmRef, vm_path};
use crate::signals::Signals;

/// Run a command, or a shell, in a running VM
///
/// Input, output, signals and exit code are the command's own; banger's own failures exit with
/// 125. It gets a terminal when input and output are one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger vm exec web                       a shell
  banger vm exec web -- make test
  banger vm exec -e DEBUG=1 web -- ./run   with a variable")]
pub(crate) struct Args {
    /// The VM: name, id or the beginning of an id
    #[arg(add = ArgValueCandidates::new(complete::vms))]
    vm: VmRef,
    /// Environment variable of the command (can be repeated)
    #[arg(short, long, value_name = "KEY=VAL", value_parser = parse_variable)]
    env: Vec<(String, String)>,
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
    let mut signals = Signals::ending()?;
    let client = context.daemon(&mut signals).await?;
    let vm: VmView = signals.race(client.get(&vm_path(&args.vm, ""))).await?;
    let attachment = Attachment {
        args: args.attach,
        argv: args.command,
        entrypoint: false,
        env: args.env.into_iter().collect(),
    };
    attach(context, &client, &vm, attachment, &mut signals).await
}
