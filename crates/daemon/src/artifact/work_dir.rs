//! Directories in which something is being made, and which go away whatever happens.
//!
//! Beside each directory is a lock file that its maker holds. A maker that was killed holds
//! nothing any more, so that the next one to look knows what is left over, whoever it is.
//!
//! What an unprivileged build leaves may belong to the user's subordinate ids. The user can only
//! remove it from inside a user namespace that has them.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use banger_proto::ByteSize;
use banger_proto::api::Pruned;
use rustix::fs::{FlockOperation, flock};

use super::mmdebstrap::in_namespaces;
use crate::exec::HostEnv;

/// Ending of lock files.
const LOCK_SUFFIX: &str = ".lock";

/// The place of work directories.
#[derive(Debug, Clone)]
pub(crate) struct WorkDirs {
    place: PathBuf,
    env: HostEnv,
}

impl WorkDirs {
    /// Work directories in `place`, which is made when it is needed. It should be on the file
    /// system where the results go, so that these can be renamed into place.
    pub(crate) fn new(place: PathBuf, env: HostEnv) -> Self {
        Self { place, env }
    }

    /// Makes a directory of mode 0700 that is removed when it is dropped.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(crate) fn create(&self) -> io::Result<WorkDir> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.place).map_err(
            |error| {
                let text = format!("cannot make `{}`: {error}", self.place.display());
                io::Error::new(error.kind(), text)
            },
        )?;
        loop {
            let mut random = [0; 6];
            getrandom::fill(&mut random).map_err(io::Error::other)?;
            let name = banger_rootfs::digest::render_hex(&random);
            let lock_path = self.place.join(format!("{name}{LOCK_SUFFIX}"));
            let file = fs_err::File::create_new(&lock_path)?;
            // Somebody who looks for what is left over may have been faster: then the file is
            // taken or gone, and another name will do.
            if try_lock(file.file())? && file.metadata()?.nlink() == 1 {
                let path = self.place.join(name);
                fs_err::create_dir(&path)?;
                return Ok(WorkDir {
                    path,
                    lock_path,
                    lock: Some(file.into_file()),
                    env: self.env.clone(),
                });
            }
        }
    }

    /// Removes what killed makers left, and tells how much it was. What cannot be removed is
    /// logged and stays.
    pub(crate) async fn remove_leftovers(&self) -> Pruned {
        let mut pruned = Pruned::default();
        let Ok(entries) = fs_err::read_dir(&self.place) else { return pruned };
        for entry in entries.flatten() {
            let lock_path = entry.path();
            let name = entry.file_name();
            let Some(name) = name.to_str().and_then(|name| name.strip_suffix(LOCK_SUFFIX)) else {
                continue;
            };
            let Ok(file) = fs_err::File::open(&lock_path) else { continue };
            if matches!(try_lock(file.file()), Ok(true)) {
                tracing::info!(path = %lock_path.display(), "removing what a killed build left");
                let left = self.place.join(name);
                let (files, bytes) = observe_usage(&left);
                if remove(&self.env, &left, &lock_path).await {
                    pruned.files += files;
                    pruned.bytes = ByteSize::from_bytes(pruned.bytes.bytes() + bytes);
                }
            }
        }
        pruned
    }
}

fn try_lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A directory that is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct WorkDir {
    path: PathBuf,
    lock_path: PathBuf,
    /// Held until the directory is gone.
    lock: Option<File>,
    env: HostEnv,
}

impl WorkDir {
    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        let (env, path, lock_path) = (self.env.clone(), self.path.clone(), self.lock_path.clone());
        let lock = self.lock.take();
        // Where no runtime is left to remove it, the next start does.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                remove(&env, &path, &lock_path).await;
                drop(lock);
            });
        }
    }
}

/// Files below `path`, and the bytes they take on the disk. What cannot be looked at counts
/// nothing.
fn observe_usage(path: &Path) -> (u64, u64) {
    let (mut files, mut bytes) = (0, 0);
    let mut directories = vec![path.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs_err::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(data) = entry.metadata() else { continue };
            if data.is_dir() {
                directories.push(entry.path());
            } else {
                files += 1;
                // In units of 512 bytes (stat(2)).
                bytes += data.blocks() * 512;
            }
        }
    }
    (files, bytes)
}

/// Whether it is gone.
async fn remove(env: &HostEnv, path: &Path, lock_path: &Path) -> bool {
    match remove_tree(env, path).await {
        Ok(()) => {
            let _ = fs_err::remove_file(lock_path);
            true
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot remove a work directory");
            false
        }
    }
}

async fn remove_tree(env: &HostEnv, path: &Path) -> io::Result<()> {
    let here = path.to_owned();
    let removed = tokio::task::spawn_blocking(move || fs_err::remove_dir_all(here)).await;
    match removed.map_err(io::Error::other)? {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let program = in_namespaces(env).called("unshare rm");
            let program = program.args(["rm", "-rf", "--"]).arg(path);
            program.run().await.map_err(io::Error::other)
        }
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn dirs(place: &Path) -> WorkDirs {
        WorkDirs::new(place.join("work"), HostEnv::from_env(|_| None))
    }

    fn entries(place: &Path) -> usize {
        std::fs::read_dir(place.join("work")).unwrap().count()
    }

    #[tokio::test]
    async fn only_what_nobody_holds_is_left_over() {
        let place = tempfile::tempdir().unwrap();
        let dirs = dirs(place.path());
        assert_eq!(dirs.remove_leftovers().await, Pruned::default());
        let held = dirs.create().unwrap();
        let mut killed = dirs.create().unwrap();
        fs_err::write(killed.path().join("half"), "x").unwrap();
        let path = killed.path().to_owned();
        // What a kill does: the lock is gone, and nobody removes anything.
        drop(killed.lock.take());
        std::mem::forget(killed);
        let pruned = dirs.remove_leftovers().await;
        assert!(pruned.files == 1 && pruned.bytes.bytes() > 0, "{pruned:?}");
        assert!(!path.exists());
        assert!(held.path().exists());
        assert_eq!(entries(place.path()), 2);
    }

    #[tokio::test]
    async fn a_dropped_one_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let dir = dirs(place.path()).create().unwrap();
        fs_err::create_dir(dir.path().join("sub")).unwrap();
        let held = fs_err::File::open(&dir.lock_path).unwrap();
        drop(dir);
        // The lock is given up last.
        let gone = tokio::task::spawn_blocking(move || flock(&held, FlockOperation::LockExclusive));
        tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap().unwrap().unwrap();
        assert_eq!(entries(place.path()), 0);
    }
}
