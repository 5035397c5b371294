//! Writing files into the host's working tree: all of them or none.
//!
//! ```text
//!  stage    every new file is written into a directory of its own at the top of the tree
//!  commit   what is replaced or removed moves there, what is new moves out of it
//!    │ anything wrong
//!    ▼
//!  undo     the same moves, backwards
//! ```
//!
//! All of it are renames in one file system. No link is followed on the way to any file, and what
//! is not there as it was when the plan was made is not touched. Should this process be killed in
//! the middle, what was replaced lies in the directory `.banger-…` at the top.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use banger_tree::changes::{LINK, PROGRAM};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, Stat, fchmod, mkdirat, openat, renameat_with, statat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;
use tempfile::TempDir;

use super::HomeError;
use super::objects::Objects;
use super::record::Version;

/// By what a file is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    place: (u64, u64),
    size: i64,
    mode: u32,
    modified: (i64, u64),
    changed: (i64, u64),
}

impl Seen {
    /// What this looks like.
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            place: (stat.st_dev, stat.st_ino),
            size: stat.st_size,
            mode: stat.st_mode,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

/// A file that changes.
#[derive(Debug)]
pub(super) struct Action {
    /// From the top.
    pub(super) path: Vec<u8>,
    /// What is there; absent for nothing.
    pub(super) seen: Option<Seen>,
    /// What is to be there; absent for nothing.
    pub(super) version: Option<Version>,
}

/// Does all of `actions`, or none.
pub(super) fn place(top: &Path, actions: &[Action], objects: &Objects) -> Result<(), HomeError> {
    let failed = |path: &[u8], source: io::Error| HomeError::Place {
        path: String::from_utf8_lossy(path).into_owned(),
        source,
    };
    let holding = tempfile::Builder::new().prefix(".banger-").tempdir_in(top);
    let holding = holding.map_err(|source| failed(b".", source))?;
    let opened = Placing::open(top, &holding);
    let mut placing = opened.map_err(|source| failed(b".", source))?;
    for (number, action) in actions.iter().enumerate() {
        let staged = placing.stage(number, action, objects);
        staged.map_err(|source| failed(&action.path, source))?;
    }
    // Removals first: a directory may have to make room for a file.
    let (gone, written): (Vec<_>, Vec<_>) =
        actions.iter().enumerate().partition(|(_, action)| action.version.is_none());
    for (number, action) in gone.into_iter().chain(written) {
        if let Err(source) = placing.commit(number, action) {
            if let Err(path) = placing.undo() {
                // What could not be brought back is there, and is not thrown away.
                let kept = holding.keep();
                tracing::error!(kept = %kept.display(), "cannot undo an apply");
                return Err(HomeError::HalfPlaced { path, kept });
            }
            return Err(failed(&action.path, source));
        }
    }
    Ok(())
}

struct Placing {
    top: OwnedFd,
    holding: OwnedFd,
    /// Moves that were made, with what is held instead.
    done: Vec<Move>,
}

#[derive(Debug)]
enum Move {
    /// Out of the tree, into the holding directory.
    Out { path: Vec<u8>, held: String },
    /// Into the tree.
    In { path: Vec<u8>, held: String },
}

impl Placing {
    fn open(top: &Path, holding: &TempDir) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = openat(CWD, top, flags, Mode::empty())?;
        let name = holding.path().file_name().unwrap_or_default();
        let holding = openat(&top, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
        Ok(Self { top, holding, done: Vec::new() })
    }

    /// Writes the new file where nobody looks for it.
    fn stage(&self, number: usize, action: &Action, objects: &Objects) -> io::Result<()> {
        let Some(version) = &action.version else { return Ok(()) };
        let name = format!("new-{number}");
        let mut contents = objects.open_blob(&version.id)?;
        if version.mode == LINK {
            let mut text = Vec::new();
            io::Read::read_to_end(&mut contents, &mut text)?;
            return Ok(symlinkat(std::ffi::OsStr::from_bytes(&text), &self.holding, name)?);
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let bits = if version.mode == PROGRAM { 0o777 } else { 0o666 };
        let file = openat(&self.holding, name, flags, Mode::from_raw_mode(bits))?;
        // What the user allowed others to do with the file stays; only whether it runs is git's.
        if let Some(seen) = action.seen.filter(|seen| seen.mode & 0o170_000 == 0o100_000) {
            let readers = seen.mode & 0o444;
            let bits = match version.mode {
                PROGRAM => (seen.mode & 0o777) | (readers >> 2),
                _ => seen.mode & 0o666,
            };
            fchmod(&file, Mode::from_raw_mode(bits))?;
        }
        io::copy(&mut contents, &mut std::fs::File::from(file))?;
        Ok(())
    }

    fn commit(&mut self, number: usize, action: &Action) -> io::Result<()> {
        let written = action.version.is_some();
        let (parent, name) = self.enter(&action.path, written)?;
        let now = match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(Seen::of(&stat)),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno.into()),
        };
        if let Some(seen) = action.seen {
            if now != Some(seen) {
                return Err(io::Error::other("it changed meanwhile"));
            }
            let held = format!("old-{number}");
            renameat_with(&parent, name, &self.holding, &held, RenameFlags::NOREPLACE)?;
            self.done.push(Move::Out { path: action.path.clone(), held });
        } else if now.is_some() {
            // A directory whose files have all gone; anything else keeps its place.
            unlinkat(&parent, name, AtFlags::REMOVEDIR)?;
        }
        if written {
            let held = format!("new-{number}");
            renameat_with(&self.holding, &held, &parent, name, RenameFlags::NOREPLACE)?;
            self.done.push(Move::In { path: action.path.clone(), held });
        } else {
            self.remove_empty_parents(&action.path);
        }
        Ok(())
    }

    /// Moves everything back, the last first. Says what is not where it was.
    fn undo(&mut self) -> Result<(), String> {
        let mut failed = None;
        while let Some(done) = self.done.pop() {
            let (path, moved) = match &done {
                Move::In { path, held } => (
                    path,
                    self.enter(path, false).and_then(|(parent, name)| {
                        Ok(renameat_with(
                            &parent,
                            name,
                            &self.holding,
                            held,
                            RenameFlags::NOREPLACE,
                        )?)
                    }),
                ),
                Move::Out { path, held } => (
                    path,
                    self.enter(path, true).and_then(|(parent, name)| {
                        Ok(renameat_with(
                            &self.holding,
                            held,
                            &parent,
                            name,
                            RenameFlags::NOREPLACE,
                        )?)
                    }),
                ),
            };
            match moved {
                Ok(()) => self.remove_empty_parents_of_new(&done),
                Err(error) => {
                    let path = String::from_utf8_lossy(path).into_owned();
                    tracing::error!(path, %error, "cannot undo a move");
                    failed.get_or_insert(path);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn remove_empty_parents_of_new(&self, undone: &Move) {
        if let Move::In { path, .. } = undone {
            self.remove_empty_parents(path);
        }
    }

    /// Removes the directories above `path` that have become empty, as git does.
    fn remove_empty_parents(&self, path: &[u8]) {
        let mut path = path;
        while let Some(slash) = path.iter().rposition(|byte| *byte == b'/') {
            path = &path[..slash];
            let removed = self
                .enter(path, false)
                .map_err(|_| Errno::NOENT)
                .and_then(|(parent, name)| unlinkat(&parent, name, AtFlags::REMOVEDIR));
            if removed.is_err() {
                return;
            }
        }
    }

    /// The directory that `path` is in, made where it is missing and `make`, and its last part.
    fn enter<'a>(&self, path: &'a [u8], make: bool) -> io::Result<(OwnedFd, &'a [u8])> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut at = openat(&self.top, c".", flags, Mode::empty())?;
        let mut rest = path;
        while let Some(slash) = rest.iter().position(|byte| *byte == b'/') {
            let part = &rest[..slash];
            at = match openat(&at, part, flags, Mode::empty()) {
                Err(Errno::NOENT) if make => {
                    mkdirat(&at, part, Mode::from_raw_mode(0o777))?;
                    openat(&at, part, flags, Mode::empty())?
                }
                opened => opened?,
            };
            rest = &rest[slash + 1..];
        }
        Ok((at, rest))
    }
}
