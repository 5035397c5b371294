//! A VM that begins from a snapshot: whether it can, and its disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use banger_proto::{Code, Paths, Problem, VmId};
use tokio::task::JoinHandle;

use super::{DISK, Shelf, Snapshot, WORKSPACE, failed};
use crate::disk;
use crate::engine::Host;
use crate::hypervisor::{DiskSpec, Saved};
use crate::step::Step;
use crate::vm::files;
use crate::vm::owned::Vm;
use crate::workspace::home::copy_records;

/// Where a guest begins that does not boot.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The snapshot.
    pub(crate) snapshot: Arc<Snapshot>,
    /// Whether the VM is to be as it was then, so that nothing is brought into it.
    pub(crate) whole: bool,
}

impl Origin {
    /// What a VMM goes on from.
    pub(crate) fn saved(&self) -> Saved {
        let directory = self.snapshot.directory.clone();
        Saved { directory, paused: false }
    }

    /// Makes sure that a guest with these disks, and with a card or without, can go on from it here.
    ///
    /// # Errors
    /// When it cannot, and what can be done.
    pub(crate) fn check(&self, host: &Host, disks: &[DiskSpec], card: bool) -> Result<(), Problem> {
        let refused = |why: &str| {
            let message = format!("a guest cannot go on from `{}`", self.snapshot.manifest.name);
            Problem::new(Code::Conflict, message)
                .cause(why)
                .hint("its disk is of use all the same: banger snapshot restore --disk")
        };
        let Some(memory) = &self.snapshot.manifest.memory else {
            return Err(refused("it has no memory: it is of a VM that did not run"));
        };
        let saved_with = host.hypervisor.saved_with();
        let saved_with = saved_with.map_err(|error| refused(&error.to_string()))?;
        if saved_with != memory.saved_with {
            return Err(refused("it was taken with another VMM, or on another processor"));
        }
        let same = disks.len() == memory.disks.len()
            && disks
                .iter()
                .zip(&memory.disks)
                .all(|(now, then)| !now.read_only || now.path == *then);
        if !same {
            return Err(refused("the disks beneath its own are others now"));
        }
        if memory.card && !card {
            return Err(refused("its guest has a network card, and there is no network now"));
        }
        Ok(())
    }
}

/// A disk that is there, and on its way to the host's.
#[derive(Debug)]
#[must_use]
pub(crate) struct Syncing {
    done: JoinHandle<io::Result<()>>,
    what: String,
}

impl Syncing {
    /// Waits until it is on the host's disk to stay.
    ///
    /// # Errors
    /// When it does not get there.
    pub(crate) async fn finish(self) -> Result<(), Problem> {
        let Self { done, what } = self;
        done.await.map_err(|gone| failed(&what, &gone))?.map_err(|error| failed(&what, &error))
    }
}

/// Makes a new VM's own disk a copy of a snapshot's, and what is known of its workspace. Its VMM need not wait
/// until the host's disk has it; whoever says that the VM is there does.
///
/// # Errors
/// When it cannot be copied.
pub(crate) async fn begin_disk(
    snapshot: &Snapshot,
    paths: &Paths,
    vm: &VmId,
) -> Result<Syncing, Problem> {
    let what = copy_files(snapshot, paths, vm, disk::copy_unsynced).await?;
    let (disk, directory) = (files::disk(paths, vm), paths.vm_state_dir(vm));
    let done = tokio::task::spawn_blocking(move || {
        fs_err::File::open(disk)?.sync_all()?;
        fs_err::File::open(directory)?.sync_all()
    });
    Ok(Syncing { done, what })
}

/// Makes a VM's own disk a copy of a snapshot's, and what is known of its workspace. Whatever there was
/// before is replaced once the copy is there.
///
/// # Errors
/// When it cannot be copied; what there was before is as it was.
async fn replace_disk(snapshot: &Snapshot, paths: &Paths, vm: &VmId) -> Result<(), Problem> {
    let what = copy_files(snapshot, paths, vm, disk::copy).await?;
    let directory = paths.vm_state_dir(vm);
    let synced =
        tokio::task::spawn_blocking(move || fs_err::File::open(directory)?.sync_all()).await;
    synced.map_err(|gone| failed(&what, &gone))?.map_err(|error| failed(&what, &error))
}

/// Copies both, the disk by `copy`; returns what is said when something fails.
async fn copy_files(
    snapshot: &Snapshot,
    paths: &Paths,
    vm: &VmId,
    copy: fn(&Path, &Path) -> io::Result<()>,
) -> Result<String, Problem> {
    let (directory, paths, vm) = (snapshot.directory.clone(), paths.clone(), vm.clone());
    let what = format!("cannot copy the disk of snapshot `{}`", snapshot.manifest.name);
    let copied = tokio::task::spawn_blocking(move || {
        files::ensure_state_dir(&paths, &vm)?;
        let (disk, workspace) = (files::disk(&paths, &vm), files::workspace(&paths, &vm));
        replace(&directory.join(WORKSPACE), &workspace, copy_records)?;
        replace(&directory.join(DISK), &disk, copy)
    });
    copied.await.map_err(|gone| failed(&what, &gone))?.map_err(|error| failed(&what, &error))?;
    Ok(what)
}

/// Finishes what was begun by taking a VM back to a snapshot, if it was: its disk.
///
/// # Errors
/// When the snapshot is not there any more, or cannot be copied.
pub(crate) async fn finish_restoring(vm: &mut Vm) -> Result<(), Problem> {
    let Some(name) = vm.record.plan.restoring.clone() else { return Ok(()) };
    vm.walk.enter(Step::CopyDisk).await;
    let (paths, id) = (vm.host.paths.clone(), vm.record.id().clone());
    let what = format!("cannot take VM `{}` back to snapshot `{name}`", vm.name());
    let snapshot = Shelf::of(&paths, &id).find(&name).map_err(|error| failed(&what, &error))?;
    let snapshot = snapshot.ok_or_else(|| {
        Problem::new(Code::NotFound, &what)
            .cause("it is not there any more")
            .hint(format!("to take it elsewhere: banger snapshot list {}", vm.name()))
    })?;
    replace_disk(&snapshot, &paths, &id).await?;
    let mut record = vm.record.clone();
    record.plan.restoring = None;
    vm.amend(record).await
}

/// Puts a copy in the place of `target`, in one step where there is a file.
fn replace(
    source: &Path,
    target: &Path,
    copy: impl FnOnce(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let new: PathBuf = target.with_extension("new");
    remove(&new)?;
    copy(source, &new)?;
    if target.is_dir() {
        remove(target)?;
    }
    if new.exists() { fs_err::rename(&new, target) } else { Ok(()) }
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.is_dir() {
        true => fs_err::remove_dir_all(path),
        false => fs_err::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
