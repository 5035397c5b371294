//! Taking back what a process that was killed had begun to write into the host's working tree.
//!
//! Before [`place`](super::place) moves the first file, it writes down in its holding directory
//! which moves there will be. From that, and from what lies there, one can tell how far it came:
//!
//! | `old-N` | `new-N` | was done |
//! |---|---|---|
//! | – | there | nothing |
//! | there | there | what was at the path is held |
//! | there or – | – | what is new is at the path, unless only a removal was wanted |
//!
//! Then the moves are made backwards. A file that somebody changed since is not touched, and the
//! holding directory with what was there before is kept.
//!
//! A working tree is not banger's alone: a directory of that name may have come with the repository,
//! with a list of moves of somebody's making. So a list is good for paths of the working tree only,
//! and no guest brings such a directory home ([`is_holding`]).

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, Stat, flock, openat, statat};
use rustix::io::Errno;

use super::HomeError;
use super::place::{Action, Move, Placing};
use crate::workspace::index::{is_possible, records};

/// How the names of holding directories begin.
pub(super) const HOLDING: &str = ".banger-apply-";
/// Name of the list of moves in a holding directory.
const PLAN: &str = "plan";

/// The right to write into a working tree, which one has at a time, until it is dropped.
#[derive(Debug)]
pub(super) struct Lock(OwnedFd);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a process that is being started by another thread has a copy of
        // the descriptor until it becomes another program, and with the copy the lock.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl Lock {
    /// Takes it.
    ///
    /// # Errors
    /// `WouldBlock` when somebody has it.
    pub(super) fn take(top: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = openat(CWD, top, flags, Mode::empty())?;
        match flock(&top, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {
                let text = "changes of another VM are being written there";
                Err(io::Error::new(io::ErrorKind::WouldBlock, text))
            }
            // Not every network's file system can lock.
            _ => Ok(Self(top)),
        }
    }
}

/// Whether `path` is in a holding directory at the top of a working tree, or one itself.
pub(super) fn is_holding(path: &[u8]) -> bool {
    path.starts_with(HOLDING.as_bytes())
}

/// By what a file that was moved into the tree is known again: a move leaves it as it is.
fn mark(stat: &Stat) -> String {
    format!("{}-{}-{}", stat.st_ino, stat.st_size, stat.st_mtime)
}

/// Writes down the moves that are about to be made out of and into `holding`, in their order.
///
/// # Errors
/// When that cannot be written.
pub(super) fn save_plan<'a>(
    holding: &Path,
    moves: impl Iterator<Item = (usize, &'a Action)>,
) -> io::Result<()> {
    let mut plan = Vec::new();
    for (number, action) in moves {
        let new = match &action.version {
            Some(_) => mark(&statat(CWD, holding.join(new(number)), AtFlags::SYMLINK_NOFOLLOW)?),
            None => "-".to_owned(),
        };
        plan.extend_from_slice(format!("{number} {new}\t").as_bytes());
        plan.extend_from_slice(&action.path);
        plan.push(0);
    }
    fs_err::write(holding.join(PLAN), plan)
}

/// Name of a file that is to be moved into the tree.
pub(super) fn new(number: usize) -> String {
    format!("new-{number}")
}

/// Name of a file that was moved out of the tree.
pub(super) fn old(number: usize) -> String {
    format!("old-{number}")
}

/// Takes back everything that was begun in the tree `top` and never ended. Answers how many files
/// are again as they were.
///
/// # Errors
/// When a file is neither as it was before nor as it was written, or there is a directory that only
/// looks as if it were banger's.
pub(super) fn take_back(top: &Path) -> Result<usize, HomeError> {
    let failed = |source| HomeError::Place { path: ".".to_owned(), source };
    let _lock = Lock::take(top).map_err(failed)?;
    let mut files = 0;
    for entry in fs_err::read_dir(top).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_directory || !is_holding(entry.file_name().as_bytes()) {
            continue;
        }
        let holding = entry.path();
        let mut placing = Placing::open(top, &holding).map_err(failed)?;
        let plan = match fs_err::read(holding.join(PLAN)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            plan => plan.map_err(failed)?,
        };
        for record in records(&plan) {
            // What was not written to its end was written before the first move.
            let Some((number, written, path)) = parse(record) else { break };
            if !is_possible(path) {
                return Err(HomeError::ForeignHolding(holding));
            }
            if let Err(source) = placing.remember(number, written, path) {
                tracing::warn!(path = %holding.display(), %source, "a file changed since");
            }
        }
        files += placing.count();
        if let Err(path) = placing.undo() {
            return Err(HomeError::HalfPlaced { path, kept: holding });
        }
        tracing::info!(path = %holding.display(), "took back what was begun and never ended");
        fs_err::remove_dir_all(&holding).map_err(failed)?;
    }
    Ok(files)
}

fn parse(record: &[u8]) -> Option<(usize, &str, &[u8])> {
    let tab = record.iter().position(|byte| *byte == b'\t')?;
    let (number, written) = str::from_utf8(&record[..tab]).ok()?.split_once(' ')?;
    Some((number.parse().ok()?, written, &record[tab + 1..]))
}

impl Placing {
    /// Finds out which moves were made for the action `number`.
    fn remember(&mut self, number: usize, written: &str, path: &[u8]) -> io::Result<()> {
        let (held_old, held_new) = (old(number), new(number));
        if self.holds(&held_old)? {
            self.done.push(Move::Out { path: path.to_vec(), held: held_old });
        }
        if written != "-" && !self.holds(&held_new)? {
            let (parent, name) = self.enter(path, false)?;
            if mark(&statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?) != written {
                return Err(io::Error::other("it is not what was written"));
            }
            self.done.push(Move::In { path: path.to_vec(), held: held_new });
        }
        Ok(())
    }

    fn holds(&self, name: &str) -> io::Result<bool> {
        match statat(&self.holding, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Files of the tree that were moved.
    fn count(&self) -> usize {
        let paths = self.done.iter().map(|done| match done {
            Move::Out { path, .. } | Move::In { path, .. } => path,
        });
        paths.collect::<std::collections::BTreeSet<_>>().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_descriptor_does_not_keep_the_lock() {
        let top = tempfile::tempdir().unwrap();
        let lock = Lock::take(top.path()).unwrap();
        let copied = lock.0.try_clone().unwrap();
        Lock::take(top.path()).unwrap_err();
        drop(lock);
        Lock::take(top.path()).unwrap();
        drop(copied);
    }
}
