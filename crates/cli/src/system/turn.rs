//! One at a time changes what is installed: two could each take back what the other has written.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::errors::CliError;

/// Where whose turn it is shows, in a directory that is root's.
const LOCK: &str = "/run/banger-install.lock";

/// The right to install and uninstall, until this is dropped or its process ends.
#[derive(Debug)]
pub(crate) struct Turn {
    path: PathBuf,
    /// Locked.
    _file: File,
}

impl Turn {
    /// Takes it.
    ///
    /// # Errors
    /// When another command has it.
    pub(crate) fn take() -> Result<Self, CliError> {
        Self::take_at(Path::new(LOCK))
            .map_err(|error| CliError::failure(format!("cannot lock `{LOCK}`")).because(&error))?
            .ok_or_else(|| {
                CliError::failure("another command installs banger or takes it off right now")
                    .hint("try again when it is done; `banger system status` shows the outcome")
            })
    }

    fn take_at(path: &Path) -> io::Result<Option<Self>> {
        loop {
            let mut options = fs::OpenOptions::new();
            let file = options.create(true).truncate(false).write(true).mode(0o600).open(path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => return Ok(None),
                locked => locked?,
            }
            // Whoever had it before may have removed the file since it was opened.
            let (held, there) = (file.metadata()?, fs::metadata(path));
            if there.is_ok_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino())) {
                return Ok(Some(Self { path: path.to_owned(), _file: file }));
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // While it is locked: nobody else has this one. A file that stays is no obstacle.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_nothing_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let turn = Turn::take_at(&path).unwrap().unwrap();
        assert!(Turn::take_at(&path).unwrap().is_none());
        drop(turn);
        assert!(!path.exists());
        // What one that was killed left is no obstacle.
        fs::write(&path, "").unwrap();
        drop(Turn::take_at(&path).unwrap().unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn many_at_once_have_it_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let holders = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let Some(turn) = Turn::take_at(&path).unwrap() else { continue };
                        assert_eq!(holders.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        holders.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(turn);
                    }
                });
            }
        });
    }
}
