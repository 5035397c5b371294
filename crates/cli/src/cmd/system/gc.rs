//! `banger system gc`

use banger_proto::api::{CollectGarbage, Garbage};
use banger_proto::{ByteSize, exit_code};

use crate::cmd::Context;
use crate::errors::{CliError, Outcome};
use crate::table::render_table;

/// Remove what belongs to no VM: disks, sockets, processes
///
/// There is some when the database was lost or put aside; `--dry-run` shows it and removes
/// nothing. Files that banger did not make, and VMs of other state directories, stay. Exits with 1
/// if something could not be removed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger system gc --dry-run
  banger system gc")]
pub(crate) struct Args {
    /// Only show what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn collect(context: &Context, args: Args) -> Outcome {
    let client = context.daemon_to_ask().await?;
    let asked = CollectGarbage { dry_run: args.dry_run };
    let garbage: Garbage = client.post("/v1/system/gc", &asked).await?;
    if args.json {
        context.ui.print_json(&garbage)?;
    } else {
        for notice in &garbage.notices {
            context.ui.note(format!("note: {notice}"));
        }
        if !garbage.leftovers.is_empty() {
            context.ui.print(&render_leftovers(&garbage))?;
        }
        context.ui.note(render_sum(&garbage, args.dry_run));
    }
    let mut failed = false;
    for problem in garbage.leftovers.into_iter().filter_map(|leftover| leftover.problem) {
        failed = true;
        CliError::from(problem).show(&context.ui);
    }
    if failed { Err(CliError::reported()) } else { Ok(exit_code::OK) }
}

fn render_leftovers(garbage: &Garbage) -> String {
    let rows = garbage.leftovers.iter().map(|leftover| {
        let kind = leftover.kind.as_str().to_owned();
        vec![leftover.vm.to_string(), kind, leftover.size.human(), leftover.path.clone()]
    });
    render_table(&["VM", "KIND", "SIZE", "PATH"], rows)
}

fn render_sum(garbage: &Garbage, dry_run: bool) -> String {
    let counted = garbage.leftovers.iter().filter(|leftover| dry_run || leftover.removed);
    let size = ByteSize::from_bytes(counted.clone().map(|leftover| leftover.size.bytes()).sum());
    match (counted.count(), dry_run) {
        (0, _) => "nothing to remove".to_owned(),
        (_, true) => format!("{} would be freed; nothing was removed", size.human()),
        (_, false) => format!("freed {}", size.human()),
    }
}
