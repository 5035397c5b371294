//! `banger kernel delete`

use banger_proto::api::KernelView;
use banger_proto::exit_code;
use clap_complete::ArgValueCompleter;

use crate::cmd::Context;
use crate::complete;
use crate::errors::{CliError, Outcome};

/// Delete kernels that no VM uses
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger kernel delete mine")]
pub(crate) struct Args {
    /// The kernels
    #[arg(required = true, value_name = "KERNEL", add = ArgValueCompleter::new(complete::other_kernels))]
    kernels: Vec<String>,
}

pub(crate) async fn delete(context: &Context, args: Args) -> Outcome {
    let client = context.daemon_to_ask().await?;
    let mut failed = false;
    for name in args.kernels {
        let deleted = match super::path_of(&name) {
            Ok(path) => client.delete::<KernelView>(&path).await,
            Err(error) => Err(error),
        };
        match deleted {
            Ok(kernel) => context.ui.print(&kernel.name)?,
            Err(error) => {
                failed = true;
                error.show(&context.ui);
            }
        }
    }
    if failed { Err(CliError::reported()) } else { Ok(exit_code::OK) }
}
