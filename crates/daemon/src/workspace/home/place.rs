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
//! the middle, the next one takes back what it did ([`interrupted`](super::interrupted)).

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use banger_tree::Room;
use banger_tree::changes::{LINK, PROGRAM};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, Stat, fchmod, mkdirat, openat, renameat_with, statat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::HomeError;
use super::interrupted::{HOLDING, Lock, new, old, save_plan};
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

/// Does all of `actions`, or none, as long as there is `room`: a little that was compressed may be
/// a lot.
pub(super) fn place(
    top: &Path,
    actions: &[Action],
    objects: &Objects,
    room: &Room,
) -> Result<(), HomeError> {
    let failed = |path: &[u8], source: io::Error| HomeError::Place {
        path: String::from_utf8_lossy(path).into_owned(),
        source,
    };
    let _lock = Lock::take(top).map_err(|source| failed(b".", source))?;
    let holding = tempfile::Builder::new().prefix(HOLDING).tempdir_in(top);
    let holding = holding.map_err(|source| failed(b".", source))?;
    let opened = Placing::open(top, holding.path());
    let mut placing = opened.map_err(|source| failed(b".", source))?;
    for (number, action) in actions.iter().enumerate() {
        let staged = placing.stage(number, action, objects, room);
        staged.map_err(|source| failed(&action.path, source))?;
    }
    // Removals first: a directory may have to make room for a file.
    let (gone, written): (Vec<_>, Vec<_>) =
        actions.iter().enumerate().partition(|(_, action)| action.version.is_none());
    let moves = || gone.iter().chain(&written).copied();
    save_plan(holding.path(), moves()).map_err(|source| failed(b".", source))?;
    for (number, action) in moves() {
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

/// A working tree that is being written to.
pub(super) struct Placing {
    top: OwnedFd,
    pub(super) holding: OwnedFd,
    /// Moves that were made, with what is held instead.
    pub(super) done: Vec<Move>,
}

/// A file that was moved.
#[derive(Debug)]
pub(super) enum Move {
    /// Out of the tree, into the holding directory.
    Out { path: Vec<u8>, held: String },
    /// Into the tree.
    In { path: Vec<u8>, held: String },
}

impl Placing {
    /// Opens the tree `top`, and the directory `holding` in it.
    pub(super) fn open(top: &Path, holding: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = openat(CWD, top, flags, Mode::empty())?;
        let name = holding.file_name().unwrap_or_default();
        let holding = openat(&top, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
        Ok(Self { top, holding, done: Vec::new() })
    }

    /// Writes the new file where nobody looks for it.
    fn stage(
        &self,
        number: usize,
        action: &Action,
        objects: &Objects,
        room: &Room,
    ) -> io::Result<()> {
        let Some(version) = &action.version else { return Ok(()) };
        let name = new(number);
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
        room.take_entry(&file)?;
        room.copy(&mut contents, &std::fs::File::from(file)).map(drop)
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
            let held = old(number);
            renameat_with(&parent, name, &self.holding, &held, RenameFlags::NOREPLACE)?;
            self.done.push(Move::Out { path: action.path.clone(), held });
        } else if now.is_some() {
            // A directory whose files have all gone; anything else keeps its place.
            unlinkat(&parent, name, AtFlags::REMOVEDIR)?;
        }
        if written {
            let held = new(number);
            renameat_with(&self.holding, &held, &parent, name, RenameFlags::NOREPLACE)?;
            self.done.push(Move::In { path: action.path.clone(), held });
        } else {
            self.remove_empty_parents(&action.path);
        }
        Ok(())
    }

    /// Moves everything back, the last first. Says what is not where it was.
    pub(super) fn undo(&mut self) -> Result<(), String> {
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
    pub(super) fn enter<'a>(&self, path: &'a [u8], make: bool) -> io::Result<(OwnedFd, &'a [u8])> {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::MetadataExt;

    use banger_tree::blob::ObjectFormat;
    use banger_tree::changes::FILE;

    use super::*;
    use crate::workspace::home::interrupted::take_back;

    /// A tree, and what is to become of it: a change, a removal, a file in place of a directory, a
    /// link, a new file in a new directory.
    struct Rig {
        top: tempfile::TempDir,
        objects: Objects,
        _store: tempfile::TempDir,
        actions: Vec<Action>,
    }

    impl Rig {
        fn new() -> Self {
            let (top, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let objects = Objects::new(store.path().to_owned(), ObjectFormat::Sha1);
            for path in ["changed", "gone/file", "shape/inside"] {
                fs_err::create_dir_all(top.path().join(path).parent().unwrap()).unwrap();
                fs_err::write(top.path().join(path), path).unwrap();
            }
            std::os::unix::fs::symlink("changed", top.path().join("link")).unwrap();
            let blob = |text: &str| objects.write_blob(text.len() as u64, &mut text.as_bytes());
            let version = |mode| Some(Version { mode, id: blob("new").unwrap() });
            let seen = |path| {
                let stat = statat(CWD, top.path().join(path), AtFlags::SYMLINK_NOFOLLOW);
                Some(Seen::of(&stat.unwrap()))
            };
            let action = |path: &str, seen, version| Action { path: path.into(), seen, version };
            let actions = vec![
                action("changed", seen("changed"), version(PROGRAM)),
                action("gone/file", seen("gone/file"), None),
                action("link", seen("link"), version(LINK)),
                action("made/new", None, version(FILE)),
                action("shape", None, version(FILE)),
                action("shape/inside", seen("shape/inside"), None),
            ];
            Self { top, objects, _store: store, actions }
        }

        fn files(&self) -> BTreeMap<Vec<u8>, (u32, Vec<u8>)> {
            let mut tree = banger_tree::Tree::open(self.top.path()).unwrap();
            let (mut found, mut pending) = (BTreeMap::new(), vec![Vec::new()]);
            while let Some(directory) = pending.pop() {
                for name in tree.list(&directory).unwrap().unwrap() {
                    let path = [directory.as_slice(), b"/", &name].concat();
                    let path = path.strip_prefix(b"/").unwrap_or(&path).to_vec();
                    let place = self.top.path().join(std::ffi::OsStr::from_bytes(&path));
                    let metadata = fs_err::symlink_metadata(&place).unwrap();
                    let contents = match metadata.is_file() {
                        true => fs_err::read(&place).unwrap(),
                        false => Vec::new(),
                    };
                    if metadata.is_dir() {
                        pending.push(path.clone());
                    }
                    found.insert(path, (metadata.mode(), contents));
                }
            }
            found
        }

        /// Comes as far as `moves` moves, and is killed then.
        fn begin(&self, moves: usize) {
            let holding = tempfile::Builder::new().prefix(HOLDING).tempdir_in(self.top.path());
            let holding = holding.unwrap().keep();
            let mut placing = Placing::open(self.top.path(), &holding).unwrap();
            for (number, action) in self.actions.iter().enumerate() {
                placing.stage(number, action, &self.objects, &Room::all()).unwrap();
            }
            let (gone, written): (Vec<_>, Vec<_>) =
                self.actions.iter().enumerate().partition(|(_, action)| action.version.is_none());
            let order = || gone.iter().chain(&written).copied();
            save_plan(&holding, order()).unwrap();
            for (number, action) in order() {
                placing.commit(number, action).unwrap();
            }
            let surplus = placing.done.split_off(moves.min(placing.done.len()));
            placing.done = surplus;
            placing.undo().unwrap();
        }
    }

    #[test]
    fn whenever_it_is_killed_all_is_as_before() {
        for moves in 0..=9 {
            let rig = Rig::new();
            let before = rig.files();
            rig.begin(moves);
            let files = take_back(rig.top.path()).unwrap();
            assert_eq!(rig.files(), before, "{moves}");
            assert_eq!(files == 0, moves == 0, "{moves}");
            assert_eq!(take_back(rig.top.path()).unwrap(), 0);
        }
    }

    #[test]
    fn what_was_changed_since_is_not_touched() {
        let rig = Rig::new();
        rig.begin(9);
        fs_err::write(rig.top.path().join("changed"), "by hand, later").unwrap();
        let error = take_back(rig.top.path()).unwrap_err();
        let HomeError::HalfPlaced { path, kept } = error else { panic!("{error:?}") };
        assert_eq!(path, "changed");
        assert_eq!(fs_err::read(rig.top.path().join("changed")).unwrap(), b"by hand, later");
        assert_eq!(fs_err::read(kept.join("old-0")).unwrap(), b"changed");
        // Everything else is as it was.
        assert_eq!(fs_err::read(rig.top.path().join("gone/file")).unwrap(), b"gone/file");
    }

    #[test]
    fn a_list_of_moves_that_came_with_the_repository_leads_nowhere() {
        let outside = tempfile::tempdir().unwrap();
        for path in ["../victim", ".git/hooks/pre-commit", "gone/../../victim", "/tmp/victim", ""] {
            let top = outside.path().join("repo");
            let holding = top.join(".banger-apply-evil");
            fs_err::create_dir_all(top.join(".git/hooks")).unwrap();
            fs_err::create_dir_all(&holding).unwrap();
            fs_err::write(holding.join("old-0"), "evil").unwrap();
            fs_err::write(holding.join("plan"), format!("0 -\t{path}\0")).unwrap();
            let error = take_back(&top).unwrap_err();
            assert!(matches!(&error, HomeError::ForeignHolding(it) if *it == holding), "{error:?}");
            assert!(holding.join("old-0").exists(), "{path}");
        }
    }

    #[test]
    fn the_disk_is_not_filled() {
        let mut rig = Rig::new();
        let size = 32 << 20;
        let id = rig.objects.write_blob(size, &mut io::repeat(0)).unwrap();
        let version = Some(Version { mode: FILE, id });
        rig.actions.push(Action { path: b"zeros".to_vec(), seen: None, version });
        let before = rig.files();
        let error = place(rig.top.path(), &rig.actions, &rig.objects, &Room::none()).unwrap_err();
        let HomeError::Place { path, source } = error else { panic!("{error:?}") };
        assert_eq!((path.as_str(), source.kind()), ("zeros", io::ErrorKind::StorageFull));
        assert_eq!(rig.files(), before);
    }

    #[test]
    fn one_at_a_time() {
        let rig = Rig::new();
        let before = rig.files();
        let lock = Lock::take(rig.top.path()).unwrap();
        place(rig.top.path(), &rig.actions, &rig.objects, &Room::all()).unwrap_err();
        take_back(rig.top.path()).unwrap_err();
        assert_eq!(rig.files(), before);
        drop(lock);
        place(rig.top.path(), &rig.actions, &rig.objects, &Room::all()).unwrap();
        assert_ne!(rig.files(), before);
    }
}
