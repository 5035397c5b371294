//! Reading a tree without ever following a link: not at the end of a path, and not in
//! the middle of it, whatever is exchanged meanwhile.
//!
//! Every directory is opened from its parent with `O_NOFOLLOW`, starting at the top level. What
//! git calls deleted is found as nothing: a missing file, one whose parent is a link or a file,
//! and one that became a directory, a socket or a device.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat,
};
use rustix::io::Errno;

/// A working tree, opened.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    /// The directory that was used last, because lists of files are sorted.
    last: Option<(Vec<u8>, OwnedFd)>,
}

/// What is at a path.
#[derive(Debug)]
pub enum Node {
    /// A regular file, opened for reading, and how it was then.
    File(File, Stat),
    /// A symbolic link with its text.
    Link(Vec<u8>, Stat),
}

impl Tree {
    /// Opens the tree whose top is `top`.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn open(top: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self::at(openat(CWD, top, flags, Mode::empty())?))
    }

    /// The tree whose top is the directory `root`.
    #[must_use]
    pub fn at(root: OwnedFd) -> Self {
        Self { root, last: None }
    }

    /// The names in the directory `path`, without `.` and `..`, sorted; the top is the empty
    /// path. `None` when there is no such directory.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn list(&mut self, path: &[u8]) -> io::Result<Option<Vec<Vec<u8>>>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match path {
            b"" => openat(&self.root, c".", flags, Mode::empty()),
            _ => match self.enter(path) {
                Ok((parent, name)) => openat(parent, name, flags, Mode::empty()),
                Err(errno) => Err(errno),
            },
        };
        let Some(directory) = absent_as_none(opened)? else { return Ok(None) };
        let mut names = Vec::new();
        for entry in Dir::new(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(name.to_vec());
            }
        }
        names.sort();
        Ok(Some(names))
    }

    /// What has the name `path`, be it a directory or a device; `None` when nothing has.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn kind(&mut self, path: &[u8]) -> io::Result<Option<FileType>> {
        let stat = match self.enter(path) {
            Ok((parent, name)) => statat(parent, name, AtFlags::SYMLINK_NOFOLLOW),
            Err(errno) => Err(errno),
        };
        Ok(absent_as_none(stat)?.map(|stat| file_type(&stat)))
    }

    /// What is at `path` without opening it; `None` when git calls it deleted.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn observe(&mut self, path: &[u8]) -> io::Result<Option<Stat>> {
        absent_as_none(self.stat(path))
    }

    /// Opens or reads what is at `path`; `None` when git calls it deleted.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&mut self, path: &[u8]) -> io::Result<Option<Node>> {
        let Some(stat) = self.observe(path)? else { return Ok(None) };
        let (directory, name) = match absent_as_none(self.enter(path))? {
            Some(found) => found,
            None => return Ok(None),
        };
        if file_type(&stat) == FileType::Symlink {
            let text = absent_as_none(readlinkat(directory, name, Vec::new()))?;
            return Ok(text.map(|text| Node::Link(text.into_bytes(), stat)));
        }
        // Without O_NONBLOCK a pipe put in the file's place would stop everything.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Some(file) = absent_as_none(openat(directory, name, flags, Mode::empty()))? else {
            return Ok(None);
        };
        let stat = fstat(&file)?;
        Ok((file_type(&stat) == FileType::RegularFile).then(|| Node::File(file.into(), stat)))
    }

    fn stat(&mut self, path: &[u8]) -> Result<Stat, Errno> {
        let (directory, name) = self.enter(path)?;
        let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match file_type(&stat) {
            FileType::RegularFile | FileType::Symlink => Ok(stat),
            _ => Err(Errno::NOENT),
        }
    }

    /// The directory that `path` is in and its last part.
    fn enter<'a>(&mut self, path: &'a [u8]) -> Result<(&OwnedFd, &'a [u8]), Errno> {
        let Some(slash) = path.iter().rposition(|byte| *byte == b'/') else {
            return Ok((&self.root, path));
        };
        let (parent, name) = (&path[..slash], &path[slash + 1..]);
        if self.last.as_ref().is_none_or(|(last, _)| last != parent) {
            self.last = None;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut at: Option<OwnedFd> = None;
            for part in parent.split(|byte| *byte == b'/') {
                let from = at.as_ref().unwrap_or(&self.root);
                at = Some(openat(from, part, flags, Mode::empty())?);
            }
            self.last = at.map(|directory| (parent.to_vec(), directory));
        }
        Ok((self.last.as_ref().map_or(&self.root, |(_, directory)| directory), name))
    }
}

/// Type of a file.
#[must_use]
pub fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn absent_as_none<T>(result: Result<T, Errno>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_never_followed() {
        let directory = tempfile::tempdir().unwrap();
        let outside = directory.path().join("outside");
        let top = directory.path().join("top");
        fs_err::create_dir_all(top.join("real")).unwrap();
        fs_err::create_dir_all(&outside).unwrap();
        fs_err::write(outside.join("secret"), "s").unwrap();
        fs_err::write(top.join("real/file"), "f").unwrap();
        symlink(&outside, top.join("linked")).unwrap();
        symlink("../outside/secret", top.join("real/link")).unwrap();
        let mut tree = Tree::open(&top).unwrap();
        assert!(tree.read(b"linked/secret").unwrap().is_none());
        assert!(tree.observe(b"linked/secret").unwrap().is_none());
        assert!(matches!(tree.read(b"real/file").unwrap(), Some(Node::File(..))));
        let link = tree.read(b"real/link").unwrap();
        assert!(matches!(link, Some(Node::Link(text, _)) if text == b"../outside/secret"));
    }

    #[test]
    fn what_is_no_file_is_absent() {
        let top = tempfile::tempdir().unwrap();
        fs_err::create_dir(top.path().join("directory")).unwrap();
        fs_err::write(top.path().join("file"), "").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(top.path().join("socket")).unwrap();
        let mut tree = Tree::open(top.path()).unwrap();
        for path in [&b"directory"[..], b"socket", b"missing", b"file/below", b"missing/below"] {
            assert!(tree.read(path).unwrap().is_none(), "{path:?}");
        }
    }
}
