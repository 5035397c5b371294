//! `banger system gc`

use banger_proto::api::{CollectGarbage, Garbage};
use banger_proto::{ByteSize, exit_code};

use crate::client::Client;
use crate::cmd::Context;
use crate::confirm::confirm;
use crate::errors::{CliError, Outcome};
use crate::signals::Signals;
use crate::table::render_table;

/// Remove what belongs to no VM: disks, sockets, processes, networks
///
/// There is some when the database was lost or put aside, or the runtime directory was removed
/// while VMs ran. It is shown, and you are asked. Files that banger did not make, and VMs of other
/// state directories, stay. Exits with 1 if something could not be removed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger system gc --dry-run
  banger system gc -f")]
pub(crate) struct Args {
    /// Only show what would be removed
    #[arg(long, conflicts_with = "force")]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn collect(context: &Context, args: Args) -> Outcome {
    let ui = &context.ui;
    let asks = !args.dry_run && !args.force;
    if asks && !(ui.stdin_terminal && ui.stderr_terminal) {
        return Err(CliError::usage("nobody can be asked here, because this is no terminal")
            .hint("to see what would be removed: banger system gc --dry-run")
            .hint("to remove it without being asked: banger system gc -f"));
    }
    let client = context.daemon_to_ask().await?;
    if asks && !is_wanted(context, &client).await? {
        return Ok(exit_code::FAILURE);
    }
    let garbage = request(&client, args.dry_run).await?;
    if args.json {
        ui.print_json(&garbage)?;
    } else {
        // Who was asked has seen the table.
        if !asks {
            note_kept(context, &garbage);
            if !garbage.leftovers.is_empty() {
                ui.print(&render_leftovers(&garbage))?;
            }
        }
        ui.note(render_sum(&garbage, args.dry_run));
    }
    let mut failed = false;
    for problem in garbage.leftovers.into_iter().filter_map(|leftover| leftover.problem) {
        failed = true;
        CliError::from(problem).show(ui);
    }
    if failed { Err(CliError::reported()) } else { Ok(exit_code::OK) }
}

async fn request(client: &Client, dry_run: bool) -> Result<Garbage, CliError> {
    client.post("/v1/system/gc", &CollectGarbage { dry_run }).await
}

/// Shows what is there and asks. Where nothing is there, nobody need be asked.
async fn is_wanted(context: &Context, client: &Client) -> Result<bool, CliError> {
    let garbage = request(client, true).await?;
    note_kept(context, &garbage);
    if garbage.leftovers.is_empty() {
        return Ok(true);
    }
    context.ui.note(render_leftovers(&garbage));
    let size =
        ByteSize::saturating_sum(garbage.leftovers.iter().map(|leftover| leftover.size)).human();
    let question = format!("Remove all this, for good ({size})?");
    let wanted = confirm(&context.ui, &mut Signals::ending()?, &question).await?;
    if !wanted {
        context.ui.note("nothing was removed");
    }
    Ok(wanted)
}

fn note_kept(context: &Context, garbage: &Garbage) {
    for notice in &garbage.notices {
        context.ui.note(format!("note: {notice}"));
    }
}

fn render_leftovers(garbage: &Garbage) -> String {
    let rows = garbage.leftovers.iter().map(|leftover| {
        let kind = leftover.kind.as_str().to_owned();
        let vm = leftover.vm.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        vec![vm, kind, leftover.size.human(), leftover.path.clone()]
    });
    render_table(&["VM", "KIND", "SIZE", "PATH"], rows)
}

fn render_sum(garbage: &Garbage, dry_run: bool) -> String {
    let counted = garbage.leftovers.iter().filter(|leftover| dry_run || leftover.removed);
    let size = ByteSize::saturating_sum(counted.clone().map(|leftover| leftover.size));
    match (counted.count(), dry_run) {
        (0, _) => "nothing to remove".to_owned(),
        (_, true) => format!("{} would be freed; nothing was removed", size.human()),
        (_, false) => format!("freed {}", size.human()),
    }
}
