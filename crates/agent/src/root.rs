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
        Ok(RootDir { fd, has_started: false })
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
    has_started: bool,
}

impl RootDir {
    /// The root of a guest that has started: what a start writes is in its writable layer by now.
    pub(crate) fn started(self) -> Self {
        Self { has_started: true, ..self }
    }

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
        match self.is_file_of(path, bytes)? {
            true => Ok(()),
            false => self.replace(path, bytes, mode, |_| Ok(())),
        }
    }

    /// The same for a file that every start makes anew, and nobody has anything in. After a [start](Self::started)
    /// the file is written over: a new one in its place has ext4 look for room and write it out at once
    /// (`auto_da_alloc`), which is most of what it costs a guest to become another VM. Before, it may be the
    /// image's, and a whole copy of that would come first.
    pub(crate) fn rewrite_file(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        if self.is_file_of(path, bytes)? {
            return Ok(());
        }
        match self.has_started.then(|| self.open_own(path, mode)).flatten() {
            Some((file, length)) => {
                overwrite(&file, length, bytes).map_err(|errno| named(errno, path))
            }
            None => self.replace(path, bytes, mode, |_| Ok(())),
        }
    }

    fn is_file_of(&self, path: &Path, bytes: &[u8]) -> io::Result<bool> {
        Ok(self.is_file(path) && self.read(path, bytes.len() as u64 + 1)? == bytes)
    }

    /// Opens the file `path` to be written over if it is one that this process would make: its own, of this mode
    /// and under no other name; with its length in bytes. A link is not followed.
    fn open_own(&self, path: &Path, mode: u32) -> Option<(OwnedFd, u64)> {
        let (parent, name) = self.parent_of(path).ok()?;
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&parent, name, flags, Mode::empty()).ok()?;
        let stat = rustix::fs::fstat(&file).ok()?;
        let is_own = FileType::from_raw_mode(stat.st_mode).is_file()
            && stat.st_nlink == 1
            && stat.st_mode & 0o7777 == mode
            && stat.st_uid == rustix::process::geteuid().as_raw()
            && stat.st_gid == rustix::process::getegid().as_raw();
        is_own.then_some((file, stat.st_size.cast_unsigned()))
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

/// Makes `file`, which has `length` bytes, have exactly these. Whoever reads it meanwhile never finds nothing.
fn overwrite(file: &OwnedFd, length: u64, bytes: &[u8]) -> rustix::io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        written += rustix::io::pwrite(file, &bytes[written..], written as u64)?;
    }
    match length > written as u64 {
        true => rustix::fs::ftruncate(file, written as u64),
        false => Ok(()),
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
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

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
    fn what_every_start_writes_stays_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        let root = Root::Directory(dir.path().into()).open().unwrap();
        let file = Path::new("/hosts");
        root.rewrite_file(file, b"the image's", 0o644).unwrap();
        let images = std::fs::File::open(&path).unwrap();
        root.rewrite_file(file, b"another", 0o644).unwrap();
        assert_ne!(images.metadata().unwrap().ino(), path.metadata().unwrap().ino());

        let root = root.started();
        let rewrite = |text: &str| {
            root.rewrite_file(file, text.as_bytes(), 0o644).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            let stat = path.symlink_metadata().unwrap();
            assert_eq!((stat.mode() & 0o7777, stat.nlink()), (0o644, 1));
            stat.ino()
        };
        let first = rewrite("the first\n");
        for text in ["one that is longer\n", "short\n", "short\n", ""] {
            assert_eq!(rewrite(text), first);
        }

        // One that is not of its making is another's.
        let other = dir.path().join("other");
        std::fs::hard_link(&path, &other).unwrap();
        assert_ne!(rewrite("after the link\n"), first);
        assert_eq!(std::fs::read(&other).unwrap(), b"");
        let before = std::fs::metadata(&path).unwrap().ino();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_ne!(rewrite("after the mode\n"), before);
        std::fs::remove_file(&path).unwrap();
        symlink("other", &path).unwrap();
        rewrite("after the link to it\n");
        assert_eq!(std::fs::read(&other).unwrap(), b"");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
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
