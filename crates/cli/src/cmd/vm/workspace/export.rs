//! `banger vm workspace export`

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use banger_proto::api::{Applied, Branched, Event, Exported, PatchForm};
use banger_proto::exit_code;
use clap_complete::ArgValueCandidates;
use serde_json::json;

use crate::client::Part;
use crate::cmd::Context;
use crate::complete;
use crate::errors::{CliError, Outcome};
use crate::reference::{VmRef, vm_path};

/// Bring home what was done to a VM's repository
///
/// Prints one patch of everything since the commit that was brought in: commits, edits, new and
/// deleted files, without what is ignored; `git apply` takes it. `--apply` changes your files
/// instead, `--branch` brings the commits. The VM's repository stays as it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger vm workspace export web --stat                what would come
  banger vm workspace export web --apply               into your files, or nothing on a conflict
  banger vm workspace export web --branch from-web     the commits, as a new branch
  banger vm workspace export web --output work.patch   then: git apply --3way work.patch")]
pub(crate) struct Args {
    /// The VM: name, id or the beginning of an id
    #[arg(add = ArgValueCandidates::new(complete::vms))]
    vm: VmRef,
    /// Write to FILE instead of standard output, whole or not at all
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["apply", "branch"])]
    output: Option<PathBuf>,
    /// Print how many lines of each file changed
    #[arg(long, group = "form")]
    stat: bool,
    /// Print the names of the files that changed
    #[arg(long, group = "form")]
    name_only: bool,
    /// Change the files of your repository; nothing, if one of them changed on both sides
    #[arg(long, group = "form")]
    apply: bool,
    /// Make a new branch of the VM's commits
    #[arg(long, value_name = "NAME", group = "form")]
    branch: Option<String>,
}

pub(crate) async fn export(context: &Context, args: Args) -> Outcome {
    if args.apply {
        return apply(context, &args.vm).await;
    }
    if let Some(name) = &args.branch {
        return branch(context, &args.vm, name).await;
    }
    let form = match (args.stat, args.name_only) {
        (true, _) => PatchForm::Stat,
        (_, true) => PatchForm::Names,
        _ => PatchForm::Patch,
    };
    let exported = match &args.output {
        None => {
            let mut print = |bytes: &[u8]| context.ui.print_bytes(bytes);
            receive(context, &args.vm, form, &mut print).await?
        }
        Some(path) => save(context, &args.vm, form, path).await?,
    };
    tell(context, &exported.notes);
    if exported.bytes == 0 {
        context.ui.note("nothing changed in the VM");
    }
    Ok(exit_code::OK)
}

async fn apply(context: &Context, vm: &VmRef) -> Outcome {
    let client = context.daemon_to_ask().await?;
    let applied: Applied = client.post(&vm_path(vm, "/workspace/apply"), &json!({})).await?;
    for file in &applied.files {
        context.ui.print(file)?;
    }
    tell(context, &applied.notes);
    let count = match applied.files.len() {
        0 => "nothing to change".to_owned(),
        1 => "changed 1 file".to_owned(),
        several => format!("changed {several} files"),
    };
    context.ui.note(format!("{count} in {}", applied.path));
    Ok(exit_code::OK)
}

async fn branch(context: &Context, vm: &VmRef, name: &str) -> Outcome {
    let client = context.daemon_to_ask().await?;
    let request = json!({ "name": name });
    let made: Branched = client.post(&vm_path(vm, "/workspace/branch"), &request).await?;
    context.ui.print(&made.commit)?;
    tell(context, &made.notes);
    context.ui.note(format!("branch {} is new in {}", made.branch, made.path));
    Ok(exit_code::OK)
}

fn tell(context: &Context, notes: &[String]) {
    for note in notes {
        context.ui.note(format!("note: {note}"));
    }
}

/// Hands the answer to `take`, piece by piece.
async fn receive(
    context: &Context,
    vm: &VmRef,
    form: PatchForm,
    take: &mut impl FnMut(&[u8]) -> Result<(), CliError>,
) -> Result<Exported, CliError> {
    let path = vm_path(vm, &format!("/workspace/patch?form={}", form.as_str()));
    let mut download = context.daemon_to_ask().await?.copy_out(&path).await?;
    loop {
        match download.next().await? {
            Part::Bytes(bytes) => take(&bytes)?,
            Part::End(Event::Exported { exported }) => return Ok(exported),
            Part::End(Event::Failed { problem }) => {
                return Err(CliError::from(problem).of_operation(download.op_id()));
            }
            Part::End(other) => {
                let message = format!("the daemon ended the patch with something else: {other:?}");
                return Err(CliError::failure(message));
            }
        }
    }
}

/// Writes beside `path`, and in its place once all of it is there.
async fn save(
    context: &Context,
    vm: &VmRef,
    form: PatchForm,
    path: &Path,
) -> Result<Exported, CliError> {
    let unwritable = |error: io::Error| {
        CliError::failure(format!("cannot write `{}`", path.display())).because(&error)
    };
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let mut file = File::create(&partial).map_err(unwritable)?;
    let mut write = |bytes: &[u8]| file.write_all(bytes).map_err(unwritable);
    let received = receive(context, vm, form, &mut write).await;
    let saved = received.and_then(|exported| {
        std::fs::rename(&partial, path).map_err(unwritable)?;
        Ok(exported)
    });
    if saved.is_err() {
        // Why it failed is what counts.
        let _ = std::fs::remove_file(&partial);
    }
    saved
}
