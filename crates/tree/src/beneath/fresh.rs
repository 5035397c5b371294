//! A tree that nobody sees before it is whole: written beside its final place, then moved there.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::{Beneath, Rules};

/// How a directory is opened that must not be a link to one.
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The tree under its temporary name; removed when it is dropped unfinished.
#[derive(Debug)]
pub struct Fresh {
    parent: OwnedFd,
    name: OsString,
    partial_name: OsString,
    beneath: Beneath,
    finished: std::cell::Cell<bool>,
}

impl Fresh {
    /// Makes an empty tree that is to become `name` in `parent`; `number` tells it apart from
    /// others that this process makes.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken; else what the system says.
    pub fn create(parent: OwnedFd, name: &OsStr, number: u64) -> io::Result<Self> {
        if rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Err(Errno::EXIST.into());
        }
        Self::beside(parent, name, number)
    }

    /// The same where the name may be taken: then the tree is to [`replace`](Self::replace) what
    /// has it.
    ///
    /// # Errors
    /// What the system says.
    pub fn beside(parent: OwnedFd, name: &OsStr, number: u64) -> io::Result<Self> {
        let mut partial_name = OsString::from(".");
        partial_name.push(name);
        partial_name.push(format!(".partial-{}-{number}", std::process::id()));
        // What a former boot left there under the same number was never finished by anybody.
        remove_tree(&parent, &partial_name);
        rustix::fs::mkdirat(&parent, &partial_name, Mode::from_raw_mode(0o755))?;
        let top = rustix::fs::openat(&parent, &partial_name, DIRECTORY, Mode::empty())?;
        let beneath = Beneath::new(top, Rules { shared: false, modes: 0o7777 });
        let finished = std::cell::Cell::new(false);
        Ok(Self { parent, name: name.to_owned(), partial_name, beneath, finished })
    }

    /// Where its entries are written.
    #[must_use]
    pub fn beneath(&self) -> &Beneath {
        &self.beneath
    }

    /// Gives the tree its name, which must still be free.
    ///
    /// # Errors
    /// `AlreadyExists` when it is not; else what the system says.
    pub fn finish(&self) -> io::Result<()> {
        let (from, to) = (&self.partial_name, &self.name);
        let flags = RenameFlags::NOREPLACE;
        rustix::fs::renameat_with(&self.parent, from, &self.parent, to, flags)?;
        self.finished.set(true);
        Ok(())
    }

    /// The directory that has the name now; none when nothing has it.
    ///
    /// # Errors
    /// When it is no directory, or cannot be opened.
    pub fn former(&self) -> io::Result<Option<OwnedFd>> {
        match rustix::fs::openat(&self.parent, &self.name, DIRECTORY, Mode::empty()) {
            Ok(former) => Ok(Some(former)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Exchanges the tree with what has its name, at once: at no moment does the name mean
    /// neither. What had it is kept under a name of its own until it is removed.
    ///
    /// # Errors
    /// What the system says; then nothing has changed.
    pub fn replace(&self) -> io::Result<Former<'_>> {
        let mut name = OsString::from(".");
        name.push(&self.name);
        name.push(format!(".replaced-{}", crate::beneath::random_name()?));
        let flags = RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(
            &self.parent,
            &self.partial_name,
            &self.parent,
            &self.name,
            flags,
        )?;
        self.finished.set(true);
        // Under its old name a later tree would take it for something unfinished.
        let moved = rustix::fs::renameat_with(
            &self.parent,
            &self.partial_name,
            &self.parent,
            &name,
            RenameFlags::NOREPLACE,
        );
        let name = if moved.is_ok() { name } else { self.partial_name.clone() };
        Ok(Former { parent: &self.parent, name })
    }
}

/// What had the name of a tree before.
#[derive(Debug)]
pub struct Former<'a> {
    parent: &'a OwnedFd,
    name: OsString,
}

impl Former<'_> {
    /// Its name now.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// Removes it.
    pub fn remove(self) {
        remove_tree(self.parent, &self.name);
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if !self.finished.get() {
            remove_tree(&self.parent, &self.partial_name);
        }
    }
}

/// Removes a tree if it is there. Nothing more can be done about one that resists.
fn remove_tree(parent: &OwnedFd, name: &OsStr) {
    // The standard library's removal does not follow links; the descriptor fixes the place.
    let path = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(name);
    let _ = std::fs::remove_dir_all(path);
}
