//! One daemon per state directory.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use fs_err::{File, OpenOptions};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::private;

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon has it.
    #[error("another daemon{pid} already uses `{dir}`", pid = .pid.as_deref().map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Taken {
        /// The state directory.
        dir: PathBuf,
        /// The other one, if it said.
        pid: Option<String>,
    },
    /// The file cannot be used; the error names it.
    #[error("cannot lock the state directory")]
    Io(#[source] std::io::Error),
}

/// The lock; the kernel gives it back when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock and writes this process's id into its file.
    ///
    /// # Errors
    /// When another process has it.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        private::ensure_file(path).map_err(LockError::Io)?;
        let mut file =
            OpenOptions::new().read(true).write(true).open(path).map_err(LockError::Io)?;
        match flock(file.file(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                // A number that cannot be read is not told.
                let _ = Read::by_ref(&mut file).take(20).read_to_string(&mut pid);
                let pid = pid.trim().to_owned();
                let dir = path.parent().unwrap_or(path).to_owned();
                return Err(LockError::Taken { dir, pid: Some(pid).filter(|pid| !pid.is_empty()) });
            }
            Err(error) => return Err(LockError::Io(error.into())),
        }
        let pid = format!("{}\n", std::process::id());
        file.set_len(0).and_then(|()| file.write_all(pid.as_bytes())).map_err(LockError::Io)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bangerd.lock");
        let first = Lock::take(&path).unwrap();
        let error = Lock::take(&path).unwrap_err().to_string();
        let expected = format!(
            "another daemon (pid {}) already uses `{}`",
            std::process::id(),
            dir.path().display()
        );
        assert_eq!(error, expected);
        drop(first);
        Lock::take(&path).unwrap();
    }
}
