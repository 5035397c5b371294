//! A repository takes the place of an older one.
//!
//! ```text
//!  .repo.partial ◀──exchange──▶ repo      .repo.replaced ──what stays──▶ repo, then removed
//! ```
//!
//! | in the older one | |
//! |---|---|
//! | ignored by its rules, and not tracked | moves over, unless something new has its name |
//! | a repository inside of it, where none has come | moves over; where it cannot, it is kept beside |
//! | anything else | goes: whoever asked has seen to it that nothing is lost |
//!
//! The exchange is one rename, so that at any moment there is the one or the other. What moves over
//! does so afterwards: a guest that dies meanwhile has the rest of it under the name of what was
//! replaced.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use banger_proto::guest::Replace;
use banger_tree::blob::ObjectFormat;
use banger_tree::{Fresh, Tree};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use crate::survey::{Rules, is_ignored, load_tracked};

/// Most things that are told of.
const MAX_NOTES: usize = 10;

/// Puts `fresh`, which is whole, into the place of what has its name. Answers what could not move
/// over.
///
/// # Errors
/// What the system says; then nothing has changed.
pub(super) fn replace(fresh: &Fresh, former: OwnedFd, how: &Replace) -> io::Result<Vec<String>> {
    let format = ObjectFormat::parse(&how.object_format).unwrap_or(ObjectFormat::Sha1);
    let new = fresh.beneath().top().try_clone()?;
    let outermost = Pair::new(former, new, Vec::new(), format)?;
    let replaced = fresh.replace()?;
    let mut stayed = Vec::new();
    let mut pending = vec![outermost];
    while let Some(mut pair) = pending.pop() {
        pair.move_over(format, &mut pending, &mut stayed);
    }
    if stayed.is_empty() {
        replaced.remove();
        return Ok(Vec::new());
    }
    let place = replaced.name().display().to_string();
    let note = |(path, error): &(Vec<u8>, io::Error)| {
        format!("`{}` stayed in `{place}`: {error}", String::from_utf8_lossy(path))
    };
    Ok(stayed.iter().take(MAX_NOTES).map(note).collect())
}

/// What could not move over, and why.
type Stayed = Vec<(Vec<u8>, io::Error)>;

/// A repository, as it was and as it came.
struct Pair {
    old: OwnedFd,
    new: OwnedFd,
    old_tree: Tree,
    new_tree: Tree,
    /// Its path from the outermost one, empty or with a slash at the end.
    below: Vec<u8>,
    /// Paths in the older one's index.
    tracked: HashSet<Vec<u8>>,
    /// The directories these are in.
    holders: HashSet<Vec<u8>>,
}

/// A directory on the way down.
struct Level {
    /// Empty, or with a slash at the end.
    path: Vec<u8>,
    /// What is still to be looked at.
    names: Vec<Vec<u8>>,
    rules: Rules,
    /// All in it that is not tracked stays.
    ignored: bool,
}

/// What to do with an entry of a directory.
enum Fate {
    /// It goes with the older tree.
    Goes,
    /// It moves over as it is.
    Moves,
    /// What is in it has fates of its own.
    Enter {
        /// All that is not tracked stays.
        ignored: bool,
    },
    /// It is a repository, and one of its name has come.
    Repository,
}

impl Pair {
    fn new(old: OwnedFd, new: OwnedFd, below: Vec<u8>, format: ObjectFormat) -> io::Result<Self> {
        let (mut old_tree, new_tree) = (Tree::at(old.try_clone()?), Tree::at(new.try_clone()?));
        let tracked: HashSet<_> = load_tracked(&mut old_tree, format).into_iter().collect();
        let holders = tracked.iter().flat_map(|path| parents(path)).map(<[u8]>::to_vec).collect();
        Ok(Self { old, new, old_tree, new_tree, below, tracked, holders })
    }

    /// Moves what stays; repositories inside of it are left to `pending`.
    fn move_over(&mut self, format: ObjectFormat, pending: &mut Vec<Self>, stayed: &mut Stayed) {
        let exclude = Rules::load(&mut self.old_tree, b".git/info/exclude", b"");
        let mut keep = |below: &[u8], path: &[u8], error| {
            stayed.push(([below, path].concat(), error));
        };
        let mut levels = Vec::new();
        match self.enter(Vec::new(), false) {
            Ok(level) => levels.push(level),
            Err(error) => keep(&self.below, b"", error),
        }
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.pop() else {
                levels.pop();
                continue;
            };
            let (path, ignored) = ([level.path.as_slice(), &name].concat(), level.ignored);
            let rules = [&exclude].into_iter().chain(levels.iter().map(|level| &level.rules));
            let done = self.decide(&path, rules, ignored).and_then(|fate| {
                match fate {
                    Fate::Goes => {}
                    Fate::Moves => self.carry(&path)?,
                    Fate::Enter { ignored } => {
                        levels.push(self.enter([path.as_slice(), b"/"].concat(), ignored)?);
                    }
                    Fate::Repository => {
                        let (old, new) = (open(&self.old, &path)?, open(&self.new, &path)?);
                        let below = [self.below.as_slice(), &path, b"/"].concat();
                        pending.push(Self::new(old, new, below, format)?);
                    }
                }
                Ok(())
            });
            if let Err(error) = done {
                keep(&self.below, &path, error);
            }
        }
    }

    fn enter(&mut self, path: Vec<u8>, ignored: bool) -> io::Result<Level> {
        let listed = self.old_tree.list(path.strip_suffix(b"/").unwrap_or(&path))?;
        let names = listed.unwrap_or_default().into_iter().filter(|name| name != b".git");
        let rules = Rules::load(&mut self.old_tree, &[&path, &b".gitignore"[..]].concat(), &path);
        Ok(Level { path, names: names.collect(), rules, ignored })
    }

    fn decide<'r>(
        &mut self,
        path: &[u8],
        rules: impl DoubleEndedIterator<Item = &'r Rules>,
        ignored: bool,
    ) -> io::Result<Fate> {
        let kind = self.old_tree.kind(path)?;
        let is_directory = kind == Some(FileType::Directory);
        let there = self.new_tree.kind(path)?;
        let git = [path, b"/.git"].concat();
        if is_directory && self.old_tree.kind(&git)?.is_some() {
            let has_come = self.new_tree.kind(&git)?.is_some();
            return Ok(if has_come { Fate::Repository } else { Fate::Moves });
        }
        if self.tracked.contains(path) {
            return Ok(Fate::Goes);
        }
        let ignored = ignored || is_ignored(rules, path, is_directory);
        Ok(match there {
            _ if is_directory && (!ignored || self.holders.contains(path)) => {
                Fate::Enter { ignored }
            }
            Some(FileType::Directory) if is_directory => Fate::Enter { ignored },
            None if ignored => Fate::Moves,
            _ => Fate::Goes,
        })
    }

    fn carry(&self, path: &[u8]) -> io::Result<()> {
        let (directory, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        let from = open(&self.old, directory)?;
        let to = match open(&self.new, directory) {
            Err(Errno::NOENT) => self.make(directory)?,
            opened => opened?,
        };
        let name = as_path(name);
        // A submodule that did not come is an empty directory; anything else stays as it is.
        let _ = rustix::fs::unlinkat(&to, name, AtFlags::REMOVEDIR);
        Ok(rustix::fs::renameat_with(from, name, to, name, RenameFlags::NOREPLACE)?)
    }

    /// Makes the directory `path` in the new tree, with its parents.
    fn make(&self, path: &[u8]) -> io::Result<OwnedFd> {
        for part in parents(path).chain([path]) {
            match rustix::fs::mkdirat(&self.new, as_path(part), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(open(&self.new, path)?)
    }
}

/// The directories that `path` is in, the outermost first.
fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.map(|(at, _)| &path[..at])
}

/// Opens the directory `path` beneath `top`, with no link followed; the empty path is the top.
fn open(top: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(top, as_path(path), flags, Mode::empty(), resolve)
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn open_top(path: &Path) -> OwnedFd {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty()).unwrap()
    }

    /// A tree of `files`, links being those with an arrow in their text.
    fn tree(top: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = top.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            match text.strip_prefix("->") {
                Some(target) => symlink(target, path).unwrap(),
                None => std::fs::write(path, text).unwrap(),
            }
        }
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    fn replaced(old: &[(&str, &str)], new: &[(&str, &str)]) -> (tempfile::TempDir, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let repo = directory.path().join("repo");
        tree(&repo, old);
        let parent = open_top(directory.path());
        let fresh = Fresh::beside(parent, OsStr::new("repo"), 1).unwrap();
        let partial = directory.path().join(format!(".repo.partial-{}-1", std::process::id()));
        tree(&partial, new);
        let former = fresh.former().unwrap().unwrap();
        let how = Replace { object_format: "sha1".to_owned() };
        let notes = replace(&fresh, former, &how).unwrap();
        (directory, notes)
    }

    #[test]
    fn what_is_ignored_stays_and_what_came_wins() {
        let old = [
            (".git/HEAD", "old"),
            (".gitignore", "/target\n*.log\nshared/\n"),
            ("target/debug/out", "built"),
            ("a.log", "mine"),
            ("b.log", "mine"),
            ("src/deep/x.log", "mine"),
            ("src/code", "old"),
            ("shared/mine", "mine"),
            ("shared/both", "mine"),
            ("unignored", "old"),
        ];
        let new =
            [(".git/HEAD", "new"), ("src/code", "new"), ("b.log", "came"), ("shared/both", "came")];
        let (directory, notes) = replaced(&old, &new);
        let repo = directory.path().join("repo");
        assert_eq!(notes, [""; 0]);
        for (name, text) in [
            (".git/HEAD", "new"),
            ("src/code", "new"),
            ("target/debug/out", "built"),
            ("a.log", "mine"),
            ("b.log", "came"),
            ("src/deep/x.log", "mine"),
            ("shared/mine", "mine"),
            ("shared/both", "came"),
        ] {
            assert_eq!(read(&repo.join(name)), text, "{name}");
        }
        assert!(!repo.join("unignored").exists() && !repo.join(".gitignore").exists());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn repositories_inside_move_over_or_are_kept_beside() {
        let old = [
            (".git/HEAD", "old"),
            ("own/.git/HEAD", "own"),
            ("own/file", "own"),
            ("module/.git/HEAD", "old"),
            ("module/.gitignore", "out\n"),
            ("module/out", "built"),
            ("taken/.git/HEAD", "own"),
        ];
        let new = [
            (".git/HEAD", "new"),
            ("module/.git/HEAD", "new"),
            ("module/.gitignore", "out\n"),
            ("taken/file", "came"),
        ];
        let (directory, notes) = replaced(&old, &new);
        let repo = directory.path().join("repo");
        assert_eq!(read(&repo.join("own/file")), "own");
        assert_eq!(read(&repo.join("module/out")), "built");
        assert_eq!(read(&repo.join("module/.git/HEAD")), "new");
        assert_eq!(read(&repo.join("taken/file")), "came");
        let [note] = notes.as_slice() else { panic!("{notes:?}") };
        let place = note.split('`').nth(3).unwrap();
        assert!(note.starts_with("`taken` stayed in"), "{note}");
        assert_eq!(read(&directory.path().join(place).join("taken/.git/HEAD")), "own");
    }

    #[test]
    fn no_link_leads_out_of_the_tree() {
        let outside = tempfile::tempdir().unwrap();
        let link = format!("->{}", outside.path().display());
        let old = [(".git/HEAD", "old"), (".gitignore", "out\n"), ("a/b/out", "built")];
        let new = [(".git/HEAD", "new"), ("a", link.as_str())];
        let (_directory, notes) = replaced(&old, &new);
        assert!(notes[0].starts_with("`a/b/out` stayed"), "{notes:?}");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
