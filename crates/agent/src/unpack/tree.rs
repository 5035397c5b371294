//! A tree that is being written: beside its final place, entry by entry, never outside itself.
//!
//! The names in an archive are hostile. Every one of them is taken apart here and its directory
//! is opened by the kernel beneath the tree with no symbolic link on the way, so a link that an
//! earlier entry made leads nowhere. The last name is made new and never followed.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;

/// Why an entry was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TreeError {
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
    /// The system said no.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Errno> for TreeError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::LOOP => Self::ThroughLink,
            Errno::XDEV => Self::Outside,
            other => Self::Io(other.into()),
        }
    }
}

/// Mode and time of an entry. Owner and group are those of the agent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meta {
    pub(super) mode: u32,
    /// Seconds since 1970.
    pub(super) mtime: i64,
}

impl Meta {
    fn timestamps(self) -> Timestamps {
        let time = Timespec { tv_sec: self.mtime, tv_nsec: 0 };
        Timestamps { last_access: time, last_modification: time }
    }
}

/// The tree under its temporary name; removed when it is dropped unfinished.
#[derive(Debug)]
pub(super) struct Partial {
    parent: OwnedFd,
    name: OsString,
    partial_name: OsString,
    top: OwnedFd,
    finished: std::cell::Cell<bool>,
}

impl Partial {
    /// Makes an empty tree that is to become `name` in `parent`.
    pub(super) fn create(parent: OwnedFd, name: &OsStr, number: u64) -> io::Result<Self> {
        if rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Err(Errno::EXIST.into());
        }
        let mut partial_name = OsString::from(".");
        partial_name.push(name);
        partial_name.push(format!(".partial-{}-{number}", std::process::id()));
        // What a former boot left there under the same number was never finished by anybody.
        remove_tree(&parent, &partial_name);
        rustix::fs::mkdirat(&parent, &partial_name, Mode::from_raw_mode(0o755))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let top = rustix::fs::openat(&parent, &partial_name, flags, Mode::empty())?;
        let finished = std::cell::Cell::new(false);
        Ok(Self { parent, name: name.to_owned(), partial_name, top, finished })
    }

    /// Gives the tree its name, which must still be free.
    pub(super) fn finish(&self) -> io::Result<()> {
        let (from, to) = (&self.partial_name, &self.name);
        let flags = RenameFlags::NOREPLACE;
        rustix::fs::renameat_with(&self.parent, from, &self.parent, to, flags)?;
        self.finished.set(true);
        Ok(())
    }

    /// Makes sure a directory is there. Its mode and time wait until everything in it is written.
    pub(super) fn directory(&self, path: &Path) -> Result<(), TreeError> {
        let Some((parent, name)) = self.place(path)? else { return Ok(()) };
        match rustix::fs::mkdirat(&parent, &name, Mode::RWXU) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => open_listed(&parent, &name).map(drop),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Gives a directory its mode and time.
    pub(super) fn finish_directory(&self, path: &Path, meta: Meta) -> Result<(), TreeError> {
        let opened = match self.place(path)? {
            Some((parent, name)) => Some(open_listed(&parent, &name)?),
            None => None,
        };
        let directory = opened.as_ref().unwrap_or(&self.top);
        rustix::fs::fchmod(directory, Mode::from_raw_mode(meta.mode))?;
        Ok(rustix::fs::futimens(directory, &meta.timestamps())?)
    }

    /// Writes a file, in the place of whatever had its name; returns its length.
    pub(super) fn file(
        &self,
        path: &Path,
        meta: Meta,
        contents: &mut impl Read,
    ) -> Result<u64, TreeError> {
        let (parent, name) = self.free_place(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, &name, flags, Mode::from_raw_mode(0o600))?;
        let mut file = std::fs::File::from(fd);
        let length = io::copy(contents, &mut file)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(meta.mode))?;
        rustix::fs::futimens(&file, &meta.timestamps())?;
        Ok(length)
    }

    /// Makes a symbolic link; where it leads is no concern of the tree.
    pub(super) fn symlink(&self, path: &Path, target: &Path, meta: Meta) -> Result<(), TreeError> {
        let (parent, name) = self.free_place(path)?;
        rustix::fs::symlinkat(target, &parent, &name)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::utimensat(parent, &name, &meta.timestamps(), flags)?)
    }

    /// Gives the file `target` of this tree one more name.
    pub(super) fn hard_link(&self, path: &Path, target: &Path) -> Result<(), TreeError> {
        let (target_parent, target_name) = self.place(target)?.ok_or(TreeError::Outside)?;
        if Self::relative(path)? == Self::relative(target)? {
            return Ok(());
        }
        let (parent, name) = self.free_place(path)?;
        let flags = AtFlags::empty();
        Ok(rustix::fs::linkat(target_parent, &target_name, parent, &name, flags)?)
    }

    /// The directory of `path`, made if it is missing, and the last name; none for the top.
    fn place(&self, path: &Path) -> Result<Option<(OwnedFd, OsString)>, TreeError> {
        let relative = Self::relative(path)?;
        let Some(name) = relative.file_name() else { return Ok(None) };
        let parent = relative.parent().unwrap_or(Path::new(""));
        let opened = match self.open_directory(parent) {
            // Some archives do not list the directories of what they list.
            Err(TreeError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                self.make_directories(parent)?;
                self.open_directory(parent)?
            }
            other => other?,
        };
        Ok(Some((opened, name.to_owned())))
    }

    /// As `place`, with nothing but a directory left under the name: the later entry wins.
    fn free_place(&self, path: &Path) -> Result<(OwnedFd, OsString), TreeError> {
        let (parent, name) = self.place(path)?.ok_or(TreeError::Kind)?;
        match rustix::fs::unlinkat(&parent, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => Ok((parent, name)),
            Err(errno) => Err(errno.into()),
        }
    }

    fn make_directories(&self, path: &Path) -> Result<(), TreeError> {
        let mut reached = PathBuf::new();
        for part in path {
            let parent = self.open_directory(&reached)?;
            reached.push(part);
            match rustix::fs::mkdirat(parent, part, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn open_directory(&self, path: &Path) -> Result<OwnedFd, TreeError> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        Ok(rustix::fs::openat2(&self.top, path, flags, Mode::empty(), resolve)?)
    }

    /// `path` without `.` parts. Nothing honest has another kind of part.
    fn relative(path: &Path) -> Result<PathBuf, TreeError> {
        path.components()
            .filter(|part| *part != Component::CurDir)
            .map(|part| match part {
                Component::Normal(name) => Ok(name),
                _ => Err(TreeError::Outside),
            })
            .collect()
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.finished.get() {
            remove_tree(&self.parent, &self.partial_name);
        }
    }
}

/// Opens the directory `name`, which must be one and no link to one.
fn open_listed(parent: &OwnedFd, name: &OsStr) -> Result<OwnedFd, TreeError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// Removes a tree if it is there. Nothing more can be done about one that resists.
fn remove_tree(parent: &OwnedFd, name: &OsStr) {
    // The standard library's removal does not follow links; the descriptor fixes the place.
    let path = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(name);
    let _ = std::fs::remove_dir_all(path);
}
