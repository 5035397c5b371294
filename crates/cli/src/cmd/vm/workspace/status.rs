//! `banger vm workspace status`

use banger_proto::api::{WorkspaceSide, WorkspaceStatus};
use banger_proto::exit_code;
use clap_complete::ArgValueCandidates;

use crate::cmd::Context;
use crate::complete;
use crate::errors::Outcome;
use crate::reference::{VmRef, vm_path};
use crate::table::render_pairs;

/// Digits of a commit that are shown.
const SHORT: usize = 12;

/// Show a VM's repository on both sides
///
/// What is checked out here and in the VM, and how many files differ: here from the commit, in the
/// VM from what was brought in.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger vm workspace status web")]
pub(crate) struct Args {
    /// The VM: name, id or the beginning of an id
    #[arg(add = ArgValueCandidates::new(complete::vms))]
    vm: VmRef,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn status(context: &Context, args: Args) -> Outcome {
    let path = vm_path(&args.vm, "/workspace");
    let status: WorkspaceStatus = context.daemon_to_ask().await?.get(&path).await?;
    if args.json {
        context.ui.print_json(&status)?;
    } else {
        context.ui.print(&render_status(&status))?;
        for note in &status.notes {
            context.ui.note(format!("note: {note}"));
        }
    }
    Ok(exit_code::OK)
}

fn render_status(status: &WorkspaceStatus) -> String {
    render_pairs(vec![
        ("brought in", render_commit(status.base.as_deref())),
        ("host", status.host.path.clone()),
        ("  head", render_head(&status.host)),
        ("  changed", render_changed(&status.host)),
        ("guest", status.guest.path.clone()),
        ("  head", render_head(&status.guest)),
        ("  changed", render_changed(&status.guest)),
    ])
}

fn render_head(side: &WorkspaceSide) -> String {
    let commit = render_commit(side.head.as_deref());
    match &side.branch {
        Some(branch) => format!("{commit} ({branch})"),
        None => commit,
    }
}

fn render_commit(commit: Option<&str>) -> String {
    commit.map_or("-".to_owned(), |commit| commit.chars().take(SHORT).collect())
}

fn render_changed(side: &WorkspaceSide) -> String {
    match side.changed {
        0 => "nothing".to_owned(),
        1 => "1 file".to_owned(),
        several => format!("{several} files"),
    }
}
