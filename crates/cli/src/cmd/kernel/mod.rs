//! `banger kernel`

mod delete;
mod import;
mod list;
mod pull;
mod show;

use banger_proto::image_name::is_plain_name;
use clap::Subcommand;

use super::Context;
use crate::errors::{CliError, Outcome};

/// Kernels for VMs
///
/// A kernel is obtained when a VM first needs it; an image names the one it goes with. A VM keeps
/// the kernel it was made with until it is deleted.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  banger kernel list
  banger kernel pull
  banger kernel import mine arch/x86/boot/bzImage
  banger kernel show mine")]
pub(crate) enum Command {
    #[command(visible_alias = "ls")]
    List(list::Args),
    #[command(visible_alias = "inspect")]
    Show(show::Args),
    Pull(pull::Args),
    Import(import::Args),
    #[command(visible_alias = "rm")]
    Delete(delete::Args),
}

pub(super) async fn run_command(context: &Context, command: Command) -> Outcome {
    match command {
        Command::List(args) => list::list(context, args).await,
        Command::Show(args) => show::show(context, args).await,
        Command::Pull(args) => pull::pull(context, args).await,
        Command::Import(args) => import::import(context, args).await,
        Command::Delete(args) => delete::delete(context, args).await,
    }
}

/// The path of the call about the kernel `name`.
///
/// No kernel has a name that would need encoding in it.
fn path_of(name: &str) -> Result<String, CliError> {
    if is_plain_name(name) {
        Ok(format!("/v1/kernels/{name}"))
    } else {
        Err(CliError::failure(format!("unknown kernel `{name}`")))
    }
}

/// A request about a kernel that ended with something else.
fn unexpected(event: &banger_proto::api::Event) -> CliError {
    CliError::failure(format!("the daemon ended the request with something else: {event:?}"))
}
