//! `banger kernel list`

use banger_proto::api::{KernelList, KernelView};
use banger_proto::exit_code;

use crate::cmd::Context;
use crate::cmd::image::note_all;
use crate::errors::Outcome;
use crate::table::render_table;

/// List kernels, those not here yet included
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger kernel list")]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn list(context: &Context, args: Args) -> Outcome {
    let list: KernelList = context.daemon_to_ask().await?.get("/v1/kernels").await?;
    if args.json {
        context.ui.print_json(&list)?;
    } else {
        note_all(context, &list.notices);
        let headings = ["NAME", "HERE", "VERSION", "SIZE", "DESCRIPTION"];
        context.ui.print(&render_table(&headings, list.kernels.into_iter().map(row)))?;
    }
    Ok(exit_code::OK)
}

fn row(kernel: KernelView) -> Vec<String> {
    vec![
        kernel.name,
        if kernel.local { "yes" } else { "no" }.to_owned(),
        kernel.version.unwrap_or_default(),
        if kernel.local { kernel.size.human() } else { String::new() },
        kernel.description,
    ]
}
