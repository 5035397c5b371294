//! Where the snapshots of a VM lie.
//!
//! ```text
//!  <VM's directory>/snapshots/
//!  ├── before-upgrade/
//!  │   ├── snapshot.json     what it is of
//!  │   ├── writable.ext4     the VM's disk
//!  │   ├── workspace/        what is known of the workspace in it
//!  │   ├── state, memory     the guest's, if it ran
//!  └── .taking-…/            being written; a kill leaves it, the next daemon removes it
//!
//!  write .taking-… ──▶ compact ──▶ prove ──▶ rename
//! ```

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use banger_proto::{ByteSize, Paths, SnapshotName, VmId};
use jiff::Timestamp;
use tempfile::TempDir;

use super::prove::PROBE;
use super::{Manifest, Snapshot};
use crate::private;

/// Directory of all snapshots in the VM's own.
pub(crate) const SNAPSHOTS: &str = "snapshots";
/// Beginning of the names of those that are being written.
const TAKING: &str = ".taking-";
/// Bytes in a block of `stat`'s count (stat(2)).
pub(super) const STAT_BLOCK: u64 = 512;

/// The snapshots of one VM.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    directory: PathBuf,
}

impl Shelf {
    /// Those of `vm`.
    pub(crate) fn of(paths: &Paths, vm: &VmId) -> Self {
        Self { directory: paths.vm_state_dir(vm).join(SNAPSHOTS) }
    }

    /// Begins one. Dropped, it is gone.
    ///
    /// # Errors
    /// On I/O errors.
    pub(crate) fn begin(&self) -> io::Result<TempDir> {
        private::ensure_dir(&self.directory)?;
        tempfile::Builder::new().prefix(TAKING).tempdir_in(&self.directory)
    }

    /// Keeps one that was begun, for good.
    ///
    /// # Errors
    /// `AlreadyExists` when there is one of that name; on other I/O errors.
    pub(crate) fn keep(&self, taken: TempDir, name: &SnapshotName) -> io::Result<Snapshot> {
        let place = self.directory.join(name.as_str());
        if place.exists() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        for entry in fs_err::read_dir(taken.path())? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs_err::File::open(entry.path())?.sync_all()?;
            }
        }
        fs_err::File::open(taken.path())?.sync_all()?;
        fs_err::rename(taken.path(), &place).map_err(|error| match error.kind() {
            // Somebody was faster since it was looked at.
            io::ErrorKind::DirectoryNotEmpty => io::ErrorKind::AlreadyExists.into(),
            _ => error,
        })?;
        // Its name is free again: nothing is removed by it.
        drop(taken);
        fs_err::File::open(&self.directory)?.sync_all()?;
        Snapshot::load(&place)
    }

    /// All of them, the oldest first. One that cannot be read is told to the log.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub(crate) fn list(&self) -> io::Result<Vec<Snapshot>> {
        let mut found = Vec::new();
        for place in self.entries()? {
            if is_begun(&place) {
                continue;
            }
            match Snapshot::load(&place) {
                Ok(snapshot) => found.push(snapshot),
                Err(error) => tracing::warn!(%error, "a snapshot cannot be read"),
            }
        }
        found.sort_by_key(|snapshot| snapshot.manifest.taken_at.parse::<Timestamp>().ok());
        Ok(found)
    }

    /// What all of them are of, and those that are being written.
    ///
    /// # Errors
    /// When one that is kept cannot be read.
    pub(crate) fn manifests(&self) -> io::Result<Vec<Manifest>> {
        let mut manifests = Vec::new();
        for place in self.entries()? {
            match Manifest::load(&place) {
                Ok(manifest) => manifests.push(manifest),
                // It goes just now, or is half written.
                Err(error) if error.kind() == io::ErrorKind::NotFound || is_begun(&place) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(manifests)
    }

    /// One of them, if it is there.
    ///
    /// # Errors
    /// When it is and cannot be read.
    pub(crate) fn find(&self, name: &SnapshotName) -> io::Result<Option<Snapshot>> {
        match Snapshot::load(&self.directory.join(name.as_str())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    /// Removes one. Its manifest goes first: what is half removed is none.
    ///
    /// # Errors
    /// On I/O errors.
    pub(crate) fn remove(&self, name: &SnapshotName) -> io::Result<()> {
        let place = self.directory.join(name.as_str());
        let going = self.directory.join(format!("{TAKING}{name}"));
        fs_err::rename(place, &going)?;
        fs_err::remove_dir_all(going)
    }

    /// VMs that try one of those that are being written; after a kill they are nobody's.
    ///
    /// # Errors
    /// On I/O errors.
    pub(crate) fn probes(&self) -> io::Result<Vec<VmId>> {
        let begun = self.entries()?.into_iter().filter(|place| is_begun(place));
        let told = begun.filter_map(|place| fs_err::read_to_string(place.join(PROBE)).ok());
        Ok(told.filter_map(|id| id.parse().ok()).collect())
    }

    /// Removes what a kill left half written or half removed. Not while one is being written.
    ///
    /// # Errors
    /// On I/O errors, after having tried all.
    pub(crate) fn sweep(&self) -> io::Result<()> {
        let left = self.entries()?.into_iter().filter(|place| is_begun(place));
        left.map(fs_err::remove_dir_all).fold(Ok(()), Result::and)
    }

    fn entries(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs_err::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        entries.map(|entry| Ok(entry?.path())).collect()
    }
}

fn is_begun(place: &Path) -> bool {
    place.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TAKING))
}

/// Bytes that the files beneath a directory take on the host.
///
/// # Errors
/// On I/O errors.
pub(super) fn observe_size(directory: &Path) -> io::Result<ByteSize> {
    let mut bytes = 0;
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += match metadata.is_dir() {
            true => observe_size(&entry.path())?.bytes(),
            false => metadata.blocks() * STAT_BLOCK,
        };
    }
    Ok(ByteSize::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::state::tests::record;
    use crate::vm::state::{Base, VmRecord};

    fn shelf() -> (TempDir, Shelf) {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf { directory: dir.path().join(SNAPSHOTS) };
        (dir, shelf)
    }

    fn take(shelf: &Shelf, name: &str) -> io::Result<Snapshot> {
        let base = Base {
            digest: "d".into(),
            path: "/i/x.ext4".into(),
            run: Default::default(),
            kernel: None,
        };
        let record = VmRecord { base: Some(base), ..record("web") };
        let taken = shelf.begin()?;
        fs_err::write(taken.path().join("writable.ext4"), [1; 5000])?;
        let name: SnapshotName = name.parse().unwrap();
        Manifest::of(name.clone(), &record, None).unwrap().save(taken.path())?;
        shelf.keep(taken, &name)
    }

    #[test]
    fn one_is_there_once_it_is_kept() {
        let (_dir, shelf) = shelf();
        assert_eq!(shelf.list().unwrap().len(), 0);
        shelf.sweep().unwrap();
        let first = take(&shelf, "first").unwrap();
        assert!(first.directory.join("writable.ext4").exists());
        assert!(observe_size(&first.directory).unwrap().bytes() >= 5000);
        take(&shelf, "second").unwrap();
        assert_eq!(take(&shelf, "first").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        // One that a kill left, and one that nobody can read.
        let _left = shelf.begin().unwrap().keep();
        fs_err::create_dir(shelf.directory.join("odd")).unwrap();
        let names = || -> Vec<String> {
            let found = shelf.list().unwrap();
            found.iter().map(|snapshot| snapshot.manifest.name.to_string()).collect()
        };
        assert_eq!(names(), ["first", "second"]);
        shelf.sweep().unwrap();
        assert_eq!(fs_err::read_dir(&shelf.directory).unwrap().count(), 3);
        let name = "first".parse().unwrap();
        shelf.remove(&name).unwrap();
        assert_eq!(names(), ["second"]);
        assert_eq!(shelf.find(&name).unwrap().map(|found| found.manifest.name), None);
    }
}
