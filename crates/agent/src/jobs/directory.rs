//! The files of all jobs, in one directory of the guest: reached by name, one level deep, links
//! not followed.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use crate::root::named;

/// Most bytes of a file that is read whole.
const FILE_LIMIT: u64 = 256 << 10;

/// The directory. It is opened anew at every use: held open, it would keep the guest's disk from
/// being unmounted when the guest ends.
pub(super) struct Directory(Box<dyn Fn() -> io::Result<OwnedFd> + Send + Sync>);

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").finish_non_exhaustive()
    }
}

impl Directory {
    /// The directory that `open` opens, as a place. What is in it is for its owner only.
    pub(super) fn new(
        open: impl Fn() -> io::Result<OwnedFd> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let directory = Self(Box::new(open));
        rustix::fs::fchmod(directory.list()?, Mode::RWXU)?;
        Ok(directory)
    }

    /// Opens it to be listed.
    fn list(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat((self.0)()?, c".", flags, Mode::empty())?)
    }

    /// Names in it.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let entries = Dir::read_from(self.list()?)?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_str().ok().map(str::to_owned)));
        names.filter_map(Result::transpose).collect()
    }

    /// Reads a small file.
    pub(super) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(name)?.take(FILE_LIMIT).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Opens a file to be read.
    pub(super) fn open(&self, name: &str) -> io::Result<File> {
        self.openat(name, OFlags::RDONLY | OFlags::NONBLOCK)
    }

    /// Opens a file that is there to be written at its end.
    pub(super) fn append(&self, name: &str) -> io::Result<File> {
        self.openat(name, OFlags::RDWR | OFlags::APPEND)
    }

    /// Makes an empty file to be written at its end, in the place of whatever had the name.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        self.remove(name)?;
        self.openat(name, OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL)
    }

    /// Makes a file of these bytes: whoever reads it has the old ones or the new ones.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let partial = format!("{name}.new");
        self.create(&partial)?.write_all(bytes)?;
        self.rename(&partial, name)
    }

    /// Gives a file another name, in the place of whatever had it.
    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let place = (self.0)()?;
        rustix::fs::renameat(&place, from, &place, to).map_err(|e| named(e, Path::new(to)))
    }

    /// Removes a file. Done twice, it is done once.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat((self.0)()?, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(named(errno, Path::new(name))),
        }
    }

    fn openat(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat((self.0)()?, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| named(errno, Path::new(name)))?;
        Ok(fd.into())
    }
}
