//! `banger image list`

use banger_proto::api::{ImageList, ImageView};
use banger_proto::exit_code;

use crate::cmd::Context;
use crate::errors::Outcome;
use crate::table::render_table;

/// List images, those not made yet included
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger image list")]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn list(context: &Context, args: Args) -> Outcome {
    let list: ImageList = context.daemon_to_ask().await?.get("/v1/images").await?;
    if args.json {
        context.ui.print_json(&list)?;
    } else {
        let headings = ["NAME", "HERE", "SIZE", "CREATED", "DESCRIPTION"];
        context.ui.print(&render_table(&headings, list.images.into_iter().map(row)))?;
    }
    Ok(exit_code::OK)
}

fn row(image: ImageView) -> Vec<String> {
    vec![
        image.name,
        if image.local { "yes" } else { "no" }.to_owned(),
        if image.local { image.size.human() } else { String::new() },
        image.created_at.unwrap_or_default(),
        image.description,
    ]
}
