//! A VM's part of a snapshot: its guest stands still while memory and disk are written, so that both are of
//! one moment, and goes on.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use banger_proto::Problem;
use tokio::time::Instant;

use super::{DISK, Memory, WORKSPACE, failed};
use crate::disk;
use crate::hypervisor::{RunningVm, SAVES};
use crate::private;
use crate::step::Step;
use crate::vm::boot::render::{Parts, render_disks};
use crate::vm::files;
use crate::vm::owned::Vm;
use crate::vm::state::VmState;
use crate::workspace::home::copy_records;

/// What was written of a VM.
#[derive(Debug)]
pub(crate) struct Held {
    /// What is to be known of its guest's memory, if that was written.
    pub(crate) memory: Option<Memory>,
    /// For how long its guest stood still.
    pub(crate) time: Duration,
}

/// Writes a VM's disk, what is known of its workspace and, if its guest runs or is paused, its memory to
/// files in `into`. The guest is afterwards as it was before, whatever fails.
///
/// # Errors
/// When something cannot be written, or guests cannot be saved here.
pub(crate) async fn hold(vm: &Vm, into: &Path) -> Result<Held, Problem> {
    let what = format!("cannot save VM `{}`", vm.name());
    let guest = match &vm.record.state {
        VmState::Running { guest } | VmState::Paused { guest, .. } => guest.clone(),
        _ => {
            copy_files(vm, into, &what).await?;
            return Ok(Held { memory: None, time: Duration::ZERO });
        }
    };
    let (Some(vmm), Some(base)) = (&vm.vmm, &vm.record.base) else {
        return Err(Problem::new(banger_proto::Code::Conflict, what).cause("it has no VMM"));
    };
    let host = &vm.host;
    let saved_with = host.hypervisor.saved_with().map_err(|error| failed(&what, &error))?;
    let parts = Parts::reopen(host, base).await?;
    let disks = render_disks(
        &vm.record.plan.of_running(),
        &parts,
        files::disk(&host.paths, vm.record.id()),
    );
    let was_paused = matches!(vm.record.state, VmState::Paused { .. });
    vm.walk.enter(Step::SaveGuest).await;
    let since = Instant::now();
    let written = async {
        let console = files::console_log(&host.paths, vm.record.id());
        save(vmm.as_ref(), &console.with_file_name(SAVES), into, &what).await?;
        vm.walk.enter(Step::CopyDisk).await;
        copy_files(vm, into, &what).await
    };
    let written = written.await;
    vm.walk.enter(Step::FreeGuest).await;
    let freed = match was_paused {
        true => vmm.pause().await,
        false => vmm.resume().await,
    };
    written?;
    freed.map_err(|error| failed(&format!("VM `{}` does not go on", vm.name()), &error))?;
    let card = vm.record.address().is_some();
    let disks = disks.into_iter().map(|disk| disk.path).collect();
    let memory = Some(Memory { saved_with, guest, card, disks });
    Ok(Held { memory, time: since.elapsed() })
}

/// Has the VMM write its guest's state to `saves`, where it may write, and moves that to where it is wanted.
///
/// # Errors
/// When it is not written; the guest stands still in any case.
pub(crate) async fn save(
    vmm: &dyn RunningVm,
    saves: &Path,
    into: &Path,
    what: &str,
) -> Result<(), Problem> {
    clear(saves).map_err(|error| failed(what, &error))?;
    let saved = vmm.save(saves).await.map_err(|error| failed(what, &error));
    let moved = match saved {
        Ok(()) => move_all(saves, into).map_err(|error| failed(what, &error)),
        Err(problem) => Err(problem),
    };
    // What was written and is of no use is as large as the guest.
    clear(saves).map_err(|error| failed(what, &error)).and(moved)
}

fn clear(directory: &Path) -> io::Result<()> {
    private::ensure_dir(directory)?;
    for entry in fs_err::read_dir(directory)? {
        fs_err::remove_file(entry?.path())?;
    }
    Ok(())
}

fn move_all(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs_err::read_dir(from)? {
        let entry = entry?;
        // The VMM may have been taken over by its guest.
        if !entry.file_type()?.is_file() {
            let path = entry.path();
            return Err(io::Error::other(format!("`{}` is no file", path.display())));
        }
        fs_err::rename(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

async fn copy_files(vm: &Vm, into: &Path, what: &str) -> Result<(), Problem> {
    let (paths, id) = (&vm.host.paths, vm.record.id());
    let disk: PathBuf = files::disk(paths, id);
    let workspace = files::workspace(paths, id);
    let into = into.to_owned();
    let copied = tokio::task::spawn_blocking(move || {
        // The guest may stand still meanwhile. Whoever keeps the copy has the host's disk have it first.
        disk::copy_unsynced(&disk, &into.join(DISK))?;
        copy_records(&workspace, &into.join(WORKSPACE))
    });
    copied.await.map_err(|gone| failed(what, &gone))?.map_err(|error| failed(what, &error))
}
