//! `banger image list`

use banger_proto::api::{ImageList, ImageView};
use banger_proto::exit_code;

use crate::cmd::Context;
use crate::errors::Outcome;
use crate::table::render_table;

/// List images, those not here yet included
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
        super::note_all(context, &list.notices);
        let headings = ["NAME", "HERE", "SIZE", "CREATED", "KERNEL", "DESCRIPTION"];
        context.ui.print(&render_table(&headings, list.images.into_iter().map(row)))?;
    }
    Ok(exit_code::OK)
}

fn row(image: ImageView) -> Vec<String> {
    let here = match (image.local, image.registered, image.gone) {
        (false, ..) => "no",
        (true, _, true) => "its file is gone",
        (true, true, false) => "registered",
        (true, false, false) => "yes",
    };
    vec![
        image.name,
        here.to_owned(),
        if image.size.bytes() > 0 { image.size.human() } else { String::new() },
        image.created_at.map(short_time).unwrap_or_default(),
        image.kernel.unwrap_or_default(),
        image.description,
    ]
}

/// A time (RFC 3339) to the minute, for a column.
fn short_time(time: String) -> String {
    time.get(..16).map_or_else(|| time.clone(), |minute| minute.replace('T', " "))
}
