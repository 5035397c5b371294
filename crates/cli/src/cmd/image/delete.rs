//! `banger image delete`

use banger_proto::api::ImageView;
use banger_proto::exit_code;
use clap_complete::ArgValueCompleter;

use crate::cmd::Context;
use crate::complete;
use crate::errors::{CliError, Outcome};
use crate::reference::image_path;

/// Delete images that no VM uses
///
/// The file of a registered image stays. One that the catalog knows is got again when needed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger image delete mine alpine:latest")]
pub(crate) struct Args {
    /// The images
    #[arg(required = true, value_name = "IMAGE", add = ArgValueCompleter::new(complete::other_images))]
    images: Vec<String>,
}

pub(crate) async fn delete(context: &Context, args: Args) -> Outcome {
    let client = context.daemon_to_ask().await?;
    let mut failed = false;
    for name in args.images {
        match client.delete::<ImageView>(&image_path(&name, "")).await {
            Ok(image) => context.ui.print(&image.name)?,
            Err(error) => {
                failed = true;
                error.show(&context.ui);
            }
        }
    }
    if failed { Err(CliError::reported()) } else { Ok(exit_code::OK) }
}
