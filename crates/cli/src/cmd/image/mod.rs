//! `banger image`

mod build;
mod cache;
mod delete;
mod import;
mod list;
mod promote;
mod pull;
mod register;
mod show;

use std::path::Path;

use banger_proto::api::Event;
use banger_proto::exit_code;
use clap::Subcommand;

use super::Context;
use crate::client::Events;
use crate::errors::{CliError, Outcome};
use crate::progress::Progress;
use crate::signals::Signals;

/// Root filesystems for VMs
///
/// An image is got when a VM first needs it; all VMs share it, and none can change it.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  banger image list
  banger image import --name mine rootfs.tar
  banger run --image mine")]
pub(crate) enum Command {
    #[command(visible_alias = "ls")]
    List(list::Args),
    Show(show::Args),
    Pull(pull::Args),
    Build(build::Args),
    Import(import::Args),
    Register(register::Args),
    Promote(promote::Args),
    #[command(visible_alias = "rm")]
    Delete(delete::Args),
    #[command(subcommand)]
    Cache(cache::Command),
}

pub(super) async fn run_command(context: &Context, command: Command) -> Outcome {
    match command {
        Command::List(args) => list::list(context, args).await,
        Command::Show(args) => show::show(context, args).await,
        Command::Pull(args) => pull::pull(context, args).await,
        Command::Build(args) => build::build(context, args).await,
        Command::Import(args) => import::import(context, args).await,
        Command::Register(args) => register::register(context, args).await,
        Command::Promote(args) => promote::promote(context, args).await,
        Command::Delete(args) => delete::delete(context, args).await,
        Command::Cache(command) => cache::run_command(context, command).await,
    }
}

/// Follows a request that ends with an image, and prints its name.
async fn finish(
    context: &Context,
    events: &mut Events,
    progress: &mut Progress,
    signals: &mut Signals,
) -> Outcome {
    match progress.follow(events, signals).await? {
        Event::ImageReady { image } => context.ui.print(&image.name)?,
        other => {
            let message = format!("the daemon ended the request with something else: {other:?}");
            return Err(CliError::failure(message));
        }
    }
    Ok(exit_code::OK)
}

/// The path as the daemon needs it, which runs elsewhere.
fn absolute(path: &Path) -> Result<String, CliError> {
    let path = path.canonicalize().map_err(|error| {
        CliError::failure(format!("cannot read `{}`", path.display())).because(&error)
    })?;
    path.into_os_string()
        .into_string()
        .map_err(|path| CliError::failure(format!("path `{}` is not UTF-8", path.display())))
}

/// Says what the user should know about a result.
pub(super) fn note_all(context: &Context, notices: &[String]) {
    for notice in notices {
        context.ui.note(format!("note: {notice}"));
    }
}
