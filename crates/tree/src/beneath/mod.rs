//! Writing entries under one directory, and never outside of it.
//!
//! The names in an archive are hostile. Every one of them is taken apart here and its directory
//! is opened by the kernel beneath the top with no symbolic link on the way, so a link that an
//! earlier entry made, or that was there before, leads nowhere. The last name is made new and
//! never followed.

mod fresh;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;

pub use fresh::{Former, Fresh};

use super::room::Room;

/// Bytes that are copied at once; as many zeros in a row, from a multiple of it on, become a hole.
pub(crate) const BLOCK: usize = 64 << 10;

/// Why an entry was not written.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// An absolute name, or one with `..`.
    #[error("its name leads out of the tree")]
    Outside,
    /// A device, pipe or something unknown.
    #[error("it is neither a file, a directory nor a link")]
    Kind,
    /// A link to nothing.
    #[error("the link has no target")]
    NoTarget,
    /// A directory of its name is a symbolic link.
    #[error("a directory in its name is a symbolic link")]
    ThroughLink,
    /// A directory would take the place of something else.
    #[error("what would have to be a directory is a link or a file")]
    NoDirectory,
    /// Something else would take the place of a directory.
    #[error("a directory has its name")]
    IsDirectory,
    /// The stream ended in the middle of a file.
    #[error("the archive ends before the file does")]
    Short,
    /// The system said no.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Errno> for TreeError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::LOOP => Self::ThroughLink,
            Errno::XDEV => Self::Outside,
            Errno::NOTDIR => Self::NoDirectory,
            Errno::ISDIR => Self::IsDirectory,
            other => Self::Io(other.into()),
        }
    }
}

impl TreeError {
    /// Whether something has the name that was to be made.
    fn is_taken(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::AlreadyExists)
    }
}

/// Mode and time of an entry. Owner and group are those of this process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meta {
    /// Permission bits and set-id bits.
    pub(crate) mode: u32,
    /// Since 1970.
    pub(crate) mtime: Timespec,
}

impl Meta {
    fn timestamps(self) -> Timestamps {
        Timestamps { last_access: self.mtime, last_modification: self.mtime }
    }
}

/// How entries are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Whether others see the directory meanwhile: then what has a name keeps it until the whole
    /// of what replaces it is there, and directories that are there keep their mode and time.
    pub shared: bool,
    /// The bits of a mode that are kept.
    pub modes: u32,
}

/// A directory that entries are written under.
#[derive(Debug)]
pub struct Beneath {
    top: OwnedFd,
    rules: Rules,
    room: Room,
}

impl Beneath {
    /// What is written under the directory `top`.
    #[must_use]
    pub fn new(top: OwnedFd, rules: Rules) -> Self {
        Self { top, rules, room: Room::all() }
    }

    /// The same, as long as `room` lets it.
    #[must_use]
    pub fn within(self, room: Room) -> Self {
        Self { room, ..self }
    }

    /// The directory itself.
    #[must_use]
    pub fn top(&self) -> &OwnedFd {
        &self.top
    }

    /// Makes sure a directory is there. Its mode and time wait until everything in it is written;
    /// tells whether it is to get them.
    pub(crate) fn directory(&self, path: &Path) -> Result<bool, TreeError> {
        let Some((parent, name)) = self.place(path)? else { return Ok(!self.rules.shared) };
        self.room.take_entry(&self.top)?;
        match rustix::fs::mkdirat(&parent, &name, Mode::RWXU) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => open_listed(&parent, &name).map(|_| !self.rules.shared),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Gives a directory its mode and time.
    pub(crate) fn finish_directory(&self, path: &Path, meta: Meta) -> Result<(), TreeError> {
        let opened = match self.place(path)? {
            Some((parent, name)) => Some(open_listed(&parent, &name)?),
            None => None,
        };
        let directory = opened.as_ref().unwrap_or(&self.top);
        rustix::fs::fchmod(directory, self.mode(meta))?;
        Ok(rustix::fs::futimens(directory, &meta.timestamps())?)
    }

    /// Writes a file of `size` bytes, in the place of whatever had its name.
    pub(crate) fn file(
        &self,
        path: &Path,
        meta: Meta,
        size: u64,
        contents: &mut impl Read,
    ) -> Result<(), TreeError> {
        self.put(path, |parent, name| {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?;
            let file = File::from(fd);
            if write_contents(contents, size, &file, &self.room)? != size {
                return Err(TreeError::Short);
            }
            rustix::fs::fchmod(&file, self.mode(meta))?;
            Ok(rustix::fs::futimens(&file, &meta.timestamps())?)
        })
    }

    /// Makes a symbolic link; where it leads is no concern of the tree.
    pub(crate) fn symlink(&self, path: &Path, target: &Path, meta: Meta) -> Result<(), TreeError> {
        self.put(path, |parent, name| {
            rustix::fs::symlinkat(target, parent, name)?;
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            Ok(rustix::fs::utimensat(parent, name, &meta.timestamps(), flags)?)
        })
    }

    /// Gives the file `target` of this tree one more name.
    pub(crate) fn hard_link(&self, path: &Path, target: &Path) -> Result<(), TreeError> {
        let (target_parent, target_name) = self.place(target)?.ok_or(TreeError::Outside)?;
        if relative(path)? == relative(target)? {
            return Ok(());
        }
        self.put(path, |parent, name| {
            let flags = AtFlags::empty();
            Ok(rustix::fs::linkat(&target_parent, &target_name, parent, name, flags)?)
        })
    }

    /// Has `make` make what `path` is to name, under that name or under one from which it is
    /// moved there; with nothing but a directory in its way: the later entry wins. Where `make`
    /// finds the name taken, it has done nothing else yet, and is called once more.
    fn put(
        &self,
        path: &Path,
        mut make: impl FnMut(&OwnedFd, &OsStr) -> Result<(), TreeError>,
    ) -> Result<(), TreeError> {
        let (parent, name) = self.place(path)?.ok_or(TreeError::IsDirectory)?;
        self.room.take_entry(&self.top)?;
        if !self.rules.shared {
            let made = make(&parent, &name);
            // Few archives have a name twice: it is not looked for each time.
            if !made.as_ref().is_err_and(TreeError::is_taken) {
                return made;
            }
            return match rustix::fs::unlinkat(&parent, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => make(&parent, &name),
                Err(errno) => Err(errno.into()),
            };
        }
        let partial = partial_name()?;
        let made = make(&parent, &partial).and_then(|()| {
            rustix::fs::renameat(&parent, &partial, &parent, &name).map_err(TreeError::from)
        });
        // Also after it was moved: of two names of one file, a rename keeps both.
        let _ = rustix::fs::unlinkat(&parent, &partial, AtFlags::empty());
        made
    }

    fn mode(&self, meta: Meta) -> Mode {
        Mode::from_raw_mode(meta.mode & self.rules.modes)
    }

    /// The directory of `path`, made if it is missing, and the last name; none for the top.
    fn place(&self, path: &Path) -> Result<Option<(OwnedFd, OsString)>, TreeError> {
        let relative = relative(path)?;
        let Some(name) = relative.file_name() else { return Ok(None) };
        let parent = relative.parent().unwrap_or(Path::new(""));
        let opened = match open_directory(&self.top, parent) {
            // Some archives do not list the directories of what they list.
            Err(Errno::NOENT) => {
                self.make_directories(parent)?;
                open_directory(&self.top, parent)?
            }
            other => other?,
        };
        Ok(Some((opened, name.to_owned())))
    }

    fn make_directories(&self, path: &Path) -> Result<(), TreeError> {
        let mut reached = PathBuf::new();
        for part in path {
            let parent = open_directory(&self.top, &reached)?;
            reached.push(part);
            match rustix::fs::mkdirat(parent, part, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

/// Opens `path` beneath `top`, with no symbolic link on the way; the last name may be one where
/// `flags` have `PATH` and `NOFOLLOW`. The empty path is the top itself.
pub(crate) fn open_beneath(top: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(top, path, flags, Mode::empty(), resolve)
}

fn open_directory(top: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    open_beneath(top, path, OFlags::PATH | OFlags::DIRECTORY)
}

/// `path` without `.` parts. Nothing honest has another kind of part.
pub(crate) fn relative(path: &Path) -> Result<PathBuf, TreeError> {
    path.components()
        .filter(|part| *part != Component::CurDir)
        .map(|part| match part {
            Component::Normal(name) => Ok(name),
            _ => Err(TreeError::Outside),
        })
        .collect()
}

/// Opens the directory `name`, which must be one and no link to one.
fn open_listed(parent: &OwnedFd, name: &OsStr) -> Result<OwnedFd, TreeError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// A name that nothing else has, short enough for any directory.
fn partial_name() -> Result<OsString, TreeError> {
    Ok(format!(".banger-partial-{}", random_name()?).into())
}

/// Sixteen hexadecimal digits that nothing else has been called by.
fn random_name() -> Result<String, Errno> {
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{:016x}", u64::from_ne_bytes(random)))
}

/// Writes all that `contents` gives, `expected` bytes most likely, as long as there is room;
/// returns how much that was.
fn write_contents(
    contents: &mut impl Read,
    expected: u64,
    file: &File,
    room: &Room,
) -> io::Result<u64> {
    // Most files are small, and a block for each is not zeroed for nothing.
    let mut block = vec![0; usize::try_from(expected).unwrap_or(BLOCK).clamp(1, BLOCK)];
    let (mut length, mut written) = (0, 0);
    loop {
        let filled = fill(contents, &mut block)?;
        if filled == 0 {
            break;
        }
        let bytes = &block[..filled];
        if bytes.iter().any(|byte| *byte != 0) {
            room.take(file, filled as u64)?;
            file.write_all_at(bytes, length)?;
            written = length + filled as u64;
        }
        length += filled as u64;
    }
    if written < length {
        file.set_len(length)?;
    }
    Ok(length)
}

/// Reads until `block` is full or the contents are over; how much was read.
pub(crate) fn fill(contents: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match contents.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
