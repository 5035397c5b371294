//! Snapshots: a VM's disk as it was, and its guest's memory if it ran. A VM can be taken back to one, and new
//! VMs can begin from one.
//!
//! | module | responsible for |
//! |---|---|
//! | `manifest` | what a snapshot says of itself |
//! | `shelf` | where those of a VM lie: begun, kept, removed |
//! | `hold` | a VM's part: standing still while its memory and disk are written |
//! | `compact` | what its guest does not use, given back to the host |
//! | `prove` | that its guest goes on, tried before it is relied upon |
//! | `begin` | a VM's disk, made from one |

mod begin;
mod compact;
mod hold;
mod manifest;
mod prove;
mod shelf;

use std::io;
use std::path::{Path, PathBuf};

use banger_proto::api::SnapshotView;
use banger_proto::{Code, Problem, SnapshotName, VmId, VmName};

pub(crate) use begin::{Origin, Syncing, begin_disk, finish_restoring};
pub(crate) use compact::compact;
pub(crate) use hold::{Held, hold, save};
pub(crate) use manifest::{Manifest, Memory};
pub(crate) use prove::{PROBE, prove};
pub(crate) use shelf::{SNAPSHOTS, Shelf};

/// Name of the disk in a snapshot.
pub(crate) const DISK: &str = "writable.ext4";
/// Name of the directory with what is known of its workspace.
pub(crate) const WORKSPACE: &str = "workspace";

/// A snapshot that is there.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// Its files.
    pub(crate) directory: PathBuf,
    /// What it is of.
    pub(crate) manifest: Manifest,
}

impl Snapshot {
    /// That in `directory`.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub(crate) fn load(directory: &Path) -> io::Result<Self> {
        let manifest = Manifest::load(directory)?;
        Ok(Self { directory: directory.to_owned(), manifest })
    }

    /// As it is shown, of the VM that is called so now.
    ///
    /// # Errors
    /// When its files cannot be looked at.
    pub(crate) fn view(&self, vm: &VmId, vm_name: &VmName) -> io::Result<SnapshotView> {
        Ok(SnapshotView {
            name: self.manifest.name.clone(),
            vm: vm.clone(),
            vm_name: vm_name.clone(),
            taken_at: self.manifest.taken_at.clone(),
            memory: self.manifest.memory.is_some(),
            size: shelf::observe_size(&self.directory)?,
        })
    }
}

/// There is no such snapshot.
pub(crate) fn not_there(name: &SnapshotName, vm: &VmName) -> Problem {
    Problem::new(Code::NotFound, format!("VM `{vm}` has no snapshot `{name}`"))
        .hint(format!("banger snapshot list {vm}"))
}

/// What went wrong with files of snapshots.
pub(crate) fn failed(what: &str, error: &(dyn std::error::Error + Sync)) -> Problem {
    Problem::new(Code::OperationFailed, what).because(error)
}
