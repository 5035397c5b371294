//! `banger image delete`

use banger_proto::api::ImageView;
use banger_proto::exit_code;
use clap_complete::ArgValueCandidates;

use crate::cmd::Context;
use crate::complete;
use crate::errors::{CliError, Outcome};

/// Delete images that no VM uses
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger image delete mine")]
pub(crate) struct Args {
    /// The images
    #[arg(required = true, value_name = "IMAGE", add = ArgValueCandidates::new(complete::images))]
    images: Vec<String>,
}

pub(crate) async fn delete(context: &Context, args: Args) -> Outcome {
    let client = context.daemon_to_ask().await?;
    let mut failed = false;
    for name in args.images {
        // The name becomes part of a path, and no image has one that would need encoding.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let deleted = if name.chars().all(plain) {
            client.delete::<ImageView>(&format!("/v1/images/{name}")).await
        } else {
            Err(CliError::failure(format!("unknown image `{name}`")))
        };
        match deleted {
            Ok(image) => context.ui.print(&image.name)?,
            Err(error) => {
                failed = true;
                error.show(&context.ui);
            }
        }
    }
    if failed { Err(CliError::reported()) } else { Ok(exit_code::OK) }
}
