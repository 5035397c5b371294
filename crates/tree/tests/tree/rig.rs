//! Directories to copy between, and archives as somebody else would write them.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use banger_tree::{Destination, Links, Room, Source, Top, UnpackError, Unpacked, land, pack};
use rustix::fs::{Mode, OFlags};
use tar::{Builder, EntryType, Header};

/// A place with a neighbour that nothing may touch.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("victim"), "untouched").unwrap();
        std::fs::create_dir(directory.path().join("here")).unwrap();
        Self { directory }
    }

    /// Where copies go.
    pub(crate) fn here(&self) -> PathBuf {
        self.directory.path().join("here")
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.here().join(path)
    }

    /// What is there, the neighbour being as it was; directories end in a slash.
    pub(crate) fn names(&self) -> Vec<String> {
        let victim = self.directory.path().join("victim");
        assert_eq!(std::fs::read_to_string(victim).unwrap(), "untouched");
        assert_eq!(std::fs::read_dir(self.directory.path()).unwrap().count(), 2);
        let mut names = Vec::new();
        walk(&self.here(), "", &mut names);
        names.sort();
        names
    }

    /// Unpacks an archive at `path`.
    pub(crate) fn land(&self, tar: &[u8], path: &str, top: &Top) -> Result<Unpacked, UnpackError> {
        self.land_with(tar, path, top, Links::Refused)
    }

    pub(crate) fn land_with(
        &self,
        tar: &[u8],
        path: &str,
        top: &Top,
        links: Links,
    ) -> Result<Unpacked, UnpackError> {
        let path = PathBuf::from(format!("{}/{path}", self.here().display()));
        let destination = Destination::find(&path, links, open).map_err(UnpackError::Archive)?;
        land(tar, destination, top, 0o1777, Room::all())
    }
}

fn walk(directory: &Path, prefix: &str, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), &format!("{name}/"), names);
            names.push(format!("{name}/"));
        } else {
            names.push(name);
        }
    }
}

pub(crate) fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// What `path` becomes as an archive.
pub(crate) fn packed(path: &Path) -> Vec<u8> {
    let mut tar = Vec::new();
    pack(&Source::find(path, open).unwrap(), &mut tar).unwrap();
    tar
}

/// An archive of entries whose names go into it as they are.
pub(crate) fn archive(entries: &[(EntryType, &str, &str, &[u8])]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (kind, name, link, data) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o6755);
        header.set_size(data.len() as u64);
        header.set_mtime(1_000_000_000);
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        tar.append(&header, *data).unwrap();
    }
    tar.into_inner().unwrap()
}

pub(crate) const FILE: EntryType = EntryType::Regular;
pub(crate) const DIRECTORY: EntryType = EntryType::Directory;
pub(crate) const SYMLINK: EntryType = EntryType::Symlink;
pub(crate) const LINK: EntryType = EntryType::Link;
