//! The directory of releases ([`Installation`] has the layout): what is staged there, put in use,
//! returned to and removed. One update at a time, whole or not at all.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use banger_proto::installation::Installation;
use fs_err as fs;
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

use crate::get::Archive;
use crate::unpack::unpack;
use crate::{ReleaseError, Version};

/// What a release that is not whole yet is called, before its name.
const STAGED: &str = ".new-";

/// The releases of one installation, to be changed by nobody else meanwhile.
#[derive(Debug)]
pub struct Place {
    installation: Installation,
    /// Held as long as this lives.
    _lock: File,
}

/// A release that is whole and on the disk, and that nobody uses.
#[derive(Debug)]
pub struct Staged {
    /// Where it is now.
    pub directory: PathBuf,
    name: String,
    /// Which it is.
    pub version: Version,
}

/// What was in use before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    /// Name of the release before this one.
    before: String,
}

impl Place {
    /// Takes hold of the releases of `installation`, and removes what an update left there that
    /// was killed.
    ///
    /// # Errors
    /// When another one has hold of them, or this user may not change them.
    pub fn take(installation: Installation) -> Result<Self, ReleaseError> {
        let releases = installation.releases();
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(releases.join(".lock"))
            .map_err(|source| ReleaseError::NotAllowed { path: releases.clone(), source })?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(ReleaseError::Busy(installation.prefix)),
            Err(error) => return Err(io::Error::from(error).into()),
        }
        let place = Self { installation, _lock: lock };
        for name in place.names()?.into_iter().filter(|name| name.starts_with(STAGED)) {
            fs::remove_dir_all(place.path(&name))?;
        }
        Ok(place)
    }

    /// The directory, for what is fetched.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.installation.releases()
    }

    /// Unpacks `archive` beside the releases, and removes its file.
    ///
    /// # Errors
    /// When it is not what was signed or cannot be unpacked; then nothing of it is left.
    pub fn stage(&self, archive: &Archive) -> Result<Staged, ReleaseError> {
        let hash: String = archive.digest.hex().chars().take(12).collect();
        let name = format!("{}-{hash}", archive.version);
        let directory = self.path(&format!("{STAGED}{name}"));
        fs::create_dir(&directory)?;
        let staged = Staged { directory, name, version: archive.version.clone() };
        let unpacked = unpack(archive, &staged.directory);
        let removed = fs::remove_file(&archive.path);
        match unpacked {
            Ok(()) => {
                removed?;
                Ok(staged)
            }
            Err(error) => {
                self.drop_staged(staged)?;
                Err(error)
            }
        }
    }

    /// Removes a release that turned out to be of no use.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn drop_staged(&self, staged: Staged) -> Result<(), ReleaseError> {
        Ok(fs::remove_dir_all(staged.directory)?)
    }

    /// Puts a release in use: whoever calls banger from now on calls this one.
    ///
    /// # Errors
    /// When it cannot be; then the one before is in use still.
    pub fn put_in_use(&self, staged: Staged) -> Result<InUse, ReleaseError> {
        let before = self.in_use()?;
        let target = self.path(&staged.name);
        // The same release again: what is there may be damaged, and runs, perhaps.
        let flags = if target.exists() { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        renameat_with(CWD, &staged.directory, CWD, &target, flags).map_err(io::Error::from)?;
        sync(&self.directory())?;
        self.switch(&staged.name)?;
        if staged.directory.exists() {
            fs::remove_dir_all(&staged.directory)?;
        }
        Ok(InUse { before })
    }

    /// Puts the release in use again that was before.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn go_back(&self, to: &InUse) -> Result<(), ReleaseError> {
        self.switch(&to.before)
    }

    /// Removes what is neither in use nor was before, and that nobody needs: no process runs from
    /// it, and it is not in `kept`. Returns what was removed.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_unused(
        &self,
        before: &InUse,
        kept: &[PathBuf],
    ) -> Result<Vec<String>, ReleaseError> {
        let in_use = self.in_use()?;
        let running = running_programs()?;
        let mut removed = Vec::new();
        for name in self.names()? {
            let path = self.path(&name);
            let needed = name == in_use
                || name == before.before
                || kept.iter().chain(&running).any(|kept| kept.starts_with(&path));
            if name == ".lock" || needed {
                continue;
            }
            if path.is_dir() {
                fs::remove_dir_all(&path)?
            } else {
                fs::remove_file(&path)?
            }
            removed.push(name);
        }
        Ok(removed)
    }

    /// Name of the release in use.
    fn in_use(&self) -> Result<String, ReleaseError> {
        let target = fs::read_link(self.installation.current())?;
        let name = target.file_name().and_then(|name| name.to_str());
        name.map(str::to_owned).ok_or_else(|| {
            let current = self.installation.current();
            let message = format!("`{}` leads to no release", current.display());
            io::Error::new(io::ErrorKind::InvalidData, message).into()
        })
    }

    /// The one moment in which another release is used.
    fn switch(&self, name: &str) -> Result<(), ReleaseError> {
        let current = self.installation.current();
        let next = current.with_file_name(".current-new");
        match fs::remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        symlink(Path::new("releases").join(name), &next)?;
        fs::rename(&next, &current)?;
        sync(current.parent().unwrap_or(Path::new("/")))
    }

    fn names(&self) -> Result<Vec<String>, ReleaseError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.directory())? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }
}

/// Makes the names in a directory last.
fn sync(directory: &Path) -> Result<(), ReleaseError> {
    Ok(fs::File::open(directory)?.sync_all()?)
}

/// The programs that run, as far as this user may know.
fn running_programs() -> Result<Vec<PathBuf>, ReleaseError> {
    let processes = fs::read_dir("/proc")?.flatten();
    // A process that has gone meanwhile runs nothing.
    Ok(processes.filter_map(|entry| std::fs::read_link(entry.path().join("exe")).ok()).collect())
}
