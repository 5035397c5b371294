//! A VM's runtime directory as its supervisor sees it: the lock, the sockets, the state file.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use banger_proto::supervisor::{
    CONTROL_SOCKET, LINK_SOCKET, LOCK_FILE, STATE_FILE, SupervisorState,
};
use rustix::fs::{CWD, FileType, FlockOperation, Mode, flock, mknodat};
use rustix::process::geteuid;
use tokio::net::UnixListener;
use tokio::net::unix::pipe;

/// Name of the state file while it is written.
const STATE_FILE_NEW: &str = "supervisor.json.new";

/// The directory, locked by this process.
#[derive(Debug)]
pub(super) struct RuntimeFiles {
    dir: PathBuf,
    /// Holds the lock; the kernel lets go of it when this process ends, however it does.
    _lock: fs_err::File,
}

impl RuntimeFiles {
    /// Checks that the directory is this user's alone and locks it. Waits while the supervisor
    /// of the VM's previous boot still tidies up.
    ///
    /// # Errors
    /// When others can reach into the directory, and on I/O errors.
    pub(super) fn lock(dir: &Path) -> io::Result<Self> {
        let metadata = fs_err::metadata(dir)?;
        if metadata.uid() != geteuid().as_raw() || metadata.mode() & 0o077 != 0 {
            let dir = dir.display();
            return Err(io::Error::other(format!(
                "`{dir}` is not a private directory (mode 0700)"
            )));
        }
        let path = dir.join(LOCK_FILE);
        loop {
            let lock =
                fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
            flock(&lock, FlockOperation::LockExclusive)?;
            // Whoever tidied up may have removed the file that this process waited for.
            let same = fs_err::metadata(&path).is_ok_and(|now| {
                lock.metadata().is_ok_and(|held| (held.dev(), held.ino()) == (now.dev(), now.ino()))
            });
            if same {
                return Ok(Self { dir: dir.to_owned(), _lock: lock });
            }
        }
    }

    /// The directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Binds a socket of this name. The process's umask makes it 0600 from birth.
    ///
    /// # Errors
    /// On I/O errors, a path that is too long included.
    pub(super) fn bind(&self, name: &str) -> io::Result<UnixListener> {
        // Left by a supervisor that was killed: the lock says that it is gone.
        let path = self.vacate(name)?;
        UnixListener::bind(&path).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on `{}`: {error}", path.display()))
        })
    }

    /// Makes a pipe of this name for the VMM to write to. It is never over: this process could write, too.
    ///
    /// # Errors
    /// On I/O errors.
    pub(super) fn make_pipe(&self, name: &str) -> io::Result<pipe::Receiver> {
        let path = self.vacate(name)?;
        let named = |error: io::Error| {
            let message = format!("cannot make the pipe `{}`: {error}", path.display());
            io::Error::new(error.kind(), message)
        };
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .map_err(|error| named(error.into()))?;
        pipe::OpenOptions::new().read_write(true).open_receiver(&path).map_err(named)
    }

    /// Where the VMM will make a socket of this name.
    ///
    /// # Errors
    /// When one that another VMM has left cannot be removed.
    pub(super) fn vacate(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.dir.join(name);
        remove_if_there(&path)?;
        Ok(path)
    }

    /// Replaces the state file. Not synced: it means nothing after a restart of the host.
    ///
    /// # Errors
    /// On I/O errors.
    pub(super) fn save_state(&self, state: &SupervisorState) -> io::Result<()> {
        let new = self.dir.join(STATE_FILE_NEW);
        fs_err::write(&new, serde_json::to_vec(state)?)?;
        fs_err::rename(new, self.dir.join(STATE_FILE))
    }

    /// Removes the sockets.
    ///
    /// # Errors
    /// On I/O errors, after having tried all.
    pub(super) fn remove_sockets(&self) -> io::Result<()> {
        self.remove(&[CONTROL_SOCKET, LINK_SOCKET])
    }

    /// Removes the state too: nobody was ever told that there is one. The launch file stays, it
    /// may already be the next one's.
    ///
    /// # Errors
    /// On I/O errors, after having tried all.
    pub(super) fn remove_all(&self) -> io::Result<()> {
        self.remove(&[CONTROL_SOCKET, LINK_SOCKET, STATE_FILE_NEW, STATE_FILE])
    }

    fn remove(&self, names: &[&str]) -> io::Result<()> {
        names.iter().map(|name| remove_if_there(&self.dir.join(name))).fold(Ok(()), Result::and)
    }
}

/// Removes a file; that it is not there is fine.
///
/// # Errors
/// On other I/O errors.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
