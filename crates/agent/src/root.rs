//! The file system that commands run in and configuration is written to, reached without being
//! led out of it.
//!
//! Every path is resolved by the kernel as if the process had changed its root
//! (`RESOLVE_IN_ROOT`): absolute links of the image mean the image, `..` ends at its top.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};

/// Which file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// The root of process 1, looked up anew at every use, so that nothing of it is held open.
    Init,
    /// A directory.
    Directory(PathBuf),
    /// The agent's own root: commands are run without changing theirs. For tests.
    Own,
}

impl Root {
    /// Opens the top directory.
    ///
    /// # Errors
    /// When it cannot be opened; the error names it.
    pub(crate) fn open(&self) -> io::Result<RootDir> {
        let path = match self {
            Self::Init => Path::new("/proc/1/root"),
            Self::Directory(path) => path,
            Self::Own => Path::new("/"),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd =
            rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| named(errno, path))?;
        Ok(RootDir { fd })
    }

    /// Whether a command must change its root to get there.
    pub(crate) fn is_foreign(&self) -> bool {
        *self != Self::Own
    }
}

/// An opened root. Paths are absolute or relative to its top, which is the same here.
#[derive(Debug)]
pub(crate) struct RootDir {
    fd: OwnedFd,
}

impl RootDir {
    /// Opens `path` with `flags`, following links inside the root.
    pub(crate) fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
            .map_err(|errno| named(errno, path))
    }

    /// Opens the directory `path` as a place, without the right to list it.
    pub(crate) fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open(path, OFlags::PATH | OFlags::DIRECTORY)
    }

    /// Reads at most `limit` bytes of the file `path`.
    pub(crate) fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let file = std::fs::File::from(self.open(path, OFlags::RDONLY | OFlags::NONBLOCK)?);
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Makes `path` a file of exactly these bytes, replacing whatever had the name (a link is
    /// replaced, not followed). A file that has them already is left alone, so that nothing is
    /// copied up into the writable layer for no change.
    pub(crate) fn ensure_file(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        if self.is_file(path) && self.read(path, bytes.len() as u64 + 1)? == bytes {
            return Ok(());
        }
        self.replace(path, bytes, mode, |_| Ok(()))
    }

    /// Writes what `edit` makes of the file `path`, which stays its owner's with its mode. A link
    /// is not followed, and a file of more than `limit` bytes is refused.
    pub(crate) fn edit_file(
        &self,
        path: &Path,
        limit: u64,
        edit: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
    ) -> io::Result<()> {
        let file = self.open(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        let stat = rustix::fs::fstat(&file).map_err(|errno| named(errno, path))?;
        if !self.is_file(path) || u64::try_from(stat.st_size).is_ok_and(|size| size > limit) {
            let message = format!("`{}` is not a file of the usual kind", path.display());
            return Err(io::Error::other(message));
        }
        let mut bytes = Vec::new();
        std::fs::File::from(file).read_to_end(&mut bytes)?;
        let Some(edited) = edit(&bytes) else { return Ok(()) };
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        self.replace(path, &edited, 0o600, |fd| {
            rustix::fs::fchown(fd, Some(uid), Some(gid))?;
            // After the owner, whose change takes bits away.
            rustix::fs::fchmod(fd, Mode::from_raw_mode(stat.st_mode & 0o7777))
        })
    }

    /// Puts a new file in the place of whatever has the name `path`, once `prepare` is done with it.
    fn replace(
        &self,
        path: &Path,
        bytes: &[u8],
        mode: u32,
        prepare: impl FnOnce(&OwnedFd) -> rustix::io::Result<()>,
    ) -> io::Result<()> {
        let (parent, name) = self.parent_of(path)?;
        let partial = partial_name(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(&parent, &partial, flags | OFlags::CLOEXEC, mode.into())
            .map_err(|errno| named(errno, path))?;
        prepare(&fd).map_err(|errno| named(errno, path))?;
        std::fs::File::from(fd).write_all(bytes)?;
        rustix::fs::renameat(&parent, &partial, &parent, name).map_err(|errno| named(errno, path))
    }

    /// Makes sure the directory `path` exists, with its parents, owned by root and 0755.
    pub(crate) fn ensure_directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut reached = PathBuf::new();
        for part in path {
            reached.push(part);
            let Ok((parent, name)) = self.parent_of(&reached) else { continue };
            match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(errno) => return Err(named(errno, &reached)),
            }
        }
        self.directory(path)
    }

    /// Whether something has the name `path`, be it a link to nowhere.
    pub(crate) fn has(&self, path: &Path) -> bool {
        self.kind(path).is_some()
    }

    /// Whether `path` is a file, and no link to one.
    pub(crate) fn is_file(&self, path: &Path) -> bool {
        self.kind(path).is_some_and(FileType::is_file)
    }

    /// What has the name `path`, a link not followed.
    fn kind(&self, path: &Path) -> Option<FileType> {
        let (parent, name) = self.parent_of(path).ok()?;
        let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(FileType::from_raw_mode(stat.st_mode))
    }

    /// The directory that holds `path`, and its last name.
    pub(crate) fn parent_of<'p>(&self, path: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
        let name = path.file_name().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{}` names no file", path.display()),
            )
        })?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        Ok((self.directory(parent.unwrap_or(Path::new("/")))?, name))
    }
}

impl AsFd for RootDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn partial_name(name: &OsStr) -> std::ffi::OsString {
    let mut partial = std::ffi::OsString::from(".");
    partial.push(name);
    partial.push(".banger-partial");
    partial
}

/// The error with the path it concerns.
pub(crate) fn named(errno: rustix::io::Errno, path: &Path) -> io::Error {
    io::Error::new(errno.kind(), format!("`{}`: {}", path.display(), io::Error::from(errno)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_of_the_root_lead_nowhere_else() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "no").unwrap();
        let inside = tempfile::tempdir().unwrap();
        symlink(outside.path(), inside.path().join("etc")).unwrap();
        symlink("/real", inside.path().join("var")).unwrap();
        std::fs::create_dir(inside.path().join("real")).unwrap();

        let root = Root::Directory(inside.path().into()).open().unwrap();
        assert!(root.read(Path::new("/etc/secret"), 10).is_err());
        assert!(root.read(Path::new("/../../../../etc/passwd"), 10).is_err());
        root.ensure_file(Path::new("/var/file"), b"yes", 0o644).unwrap();
        assert_eq!(std::fs::read(inside.path().join("real/file")).unwrap(), b"yes");
    }

    #[test]
    fn a_link_is_replaced_by_the_file() {
        let inside = tempfile::tempdir().unwrap();
        symlink("elsewhere", inside.path().join("hostname")).unwrap();
        let root = Root::Directory(inside.path().into()).open().unwrap();
        for _ in 0..2 {
            root.ensure_file(Path::new("/hostname"), b"vm\n", 0o644).unwrap();
        }
        assert!(inside.path().join("hostname").symlink_metadata().unwrap().is_file());
        assert_eq!(std::fs::read_dir(inside.path()).unwrap().count(), 1);
    }

    #[test]
    fn directories_are_made_with_their_parents() {
        let inside = tempfile::tempdir().unwrap();
        let root = Root::Directory(inside.path().into()).open().unwrap();
        root.ensure_directory(Path::new("/var/lib/docker")).unwrap();
        root.ensure_directory(Path::new("/var/lib/docker")).unwrap();
        assert!(inside.path().join("var/lib/docker").is_dir());
    }
}
