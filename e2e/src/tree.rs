//! The files of a root file system as they can be compared: everything but access times, sizes
//! of directories and numbers of inodes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{lgetxattr, llistxattr, major, minor};
use sha2::{Digest, Sha256};

/// A file system: paths from its root, without a leading slash, to what is there. The root
/// itself has the empty path.
pub type Tree = BTreeMap<Vec<u8>, Entry>;

/// What is at a path.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Permissions with setuid, setgid and sticky. Those of symbolic links mean nothing and are
    /// 0777.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// When it was modified: seconds and nanoseconds since 1970.
    pub modified: (i64, u32),
    /// Extended attributes; access control lists in the form that the system calls use.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path, in order of bytes, of the same inode: tells which names are hard links.
    pub first_name: Vec<u8>,
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file of so many bytes with this SHA-256.
    File(u64, [u8; 32]),
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// A character device: major and minor number.
    Character(u32, u32),
    /// A block device: major and minor number.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl fmt::Debug for Entry {
    /// Bytes as text, so that a person sees what differs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Symlink(target) => write!(f, "link to `{}`", target.escape_ascii())?,
            Kind::File(size, digest) => write!(f, "{size} bytes {:02x?}", &digest[..4])?,
            kind => write!(f, "{kind:?}")?,
        }
        let ((user, group), (seconds, nanoseconds)) = (self.owner, self.modified);
        write!(f, ", {:04o} {user}:{group} {seconds}.{nanoseconds:09}", self.mode)?;
        for (name, value) in &self.xattrs {
            write!(f, ", {}={}", name.escape_ascii(), value.escape_ascii())?;
        }
        write!(f, ", inode of `{}`", self.first_name.escape_ascii())
    }
}

/// Reads the directory `root`.
///
/// # Panics
/// When something in it cannot be read, which takes the rights of root.
#[must_use]
pub fn read_directory(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut inodes = HashMap::new();
    let mut queue = vec![PathBuf::new()];
    while let Some(path) = queue.pop() {
        let full = if path.as_os_str().is_empty() { root.to_owned() } else { root.join(&path) };
        let entry = read_entry(&full, &path, &mut inodes)
            .unwrap_or_else(|error| panic!("{}: {error}", full.display()));
        if entry.kind == Kind::Directory {
            let names = fs::read_dir(&full).expect("directory of the tree");
            queue.extend(names.map(|name| path.join(name.expect("name").file_name())));
        }
        tree.insert(path.into_os_string().into_vec(), entry);
    }
    name_links(&mut tree, |path, _| inodes[path]);
    tree
}

/// Sets every entry's first name, given what identifies its inode.
pub(crate) fn name_links<I: Copy + Eq + std::hash::Hash>(
    tree: &mut Tree,
    inode: impl Fn(&[u8], &Entry) -> I,
) {
    let mut first: HashMap<I, Vec<u8>> = HashMap::new();
    for (path, entry) in tree {
        let name = first.entry(inode(path, entry)).or_insert_with(|| path.clone());
        entry.first_name.clone_from(name);
    }
}

fn read_entry(
    full: &Path,
    path: &Path,
    inodes: &mut HashMap<Vec<u8>, (u64, u64)>,
) -> io::Result<Entry> {
    let metadata = fs::symlink_metadata(full)?;
    inodes.insert(path.as_os_str().as_bytes().to_vec(), (metadata.dev(), metadata.ino()));
    let kind = read_kind(full, &metadata)?;
    let mode = if metadata.is_symlink() { 0o777 } else { metadata.mode() & 0o7777 };
    Ok(Entry {
        kind,
        mode,
        owner: (metadata.uid(), metadata.gid()),
        modified: (metadata.mtime(), u32::try_from(metadata.mtime_nsec()).unwrap_or(u32::MAX)),
        xattrs: read_xattrs(full)?,
        first_name: Vec::new(),
    })
}

fn read_kind(full: &Path, metadata: &Metadata) -> io::Result<Kind> {
    let kind = metadata.file_type();
    let device = (major(metadata.rdev()), minor(metadata.rdev()));
    Ok(if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        Kind::Symlink(fs::read_link(full)?.into_os_string().into_vec())
    } else if kind.is_char_device() {
        Kind::Character(device.0, device.1)
    } else if kind.is_block_device() {
        Kind::Block(device.0, device.1)
    } else if kind.is_fifo() {
        Kind::Fifo
    } else if kind.is_socket() {
        Kind::Socket
    } else {
        let (size, digest) = digest(&mut File::open(full)?)?;
        Kind::File(size, digest)
    })
}

/// Length and SHA-256 of everything that `from` has.
pub(crate) fn digest(from: &mut impl io::Read) -> io::Result<(u64, [u8; 32])> {
    let mut hasher = Sha256::new();
    let mut size = 0;
    let mut bytes = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut bytes)?;
        if count == 0 {
            return Ok((size, hasher.finalize().into()));
        }
        hasher.update(&bytes[..count]);
        size += count as u64;
    }
}

fn read_xattrs(full: &Path) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut names = vec![0; 64 << 10];
    let length = llistxattr(full, &mut names)?;
    let mut found = BTreeMap::new();
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 64 << 10];
        let length = lgetxattr(full, OsStr::from_bytes(name), &mut value)?;
        value.truncate(length);
        found.insert(name.to_vec(), value);
    }
    Ok(found)
}

/// What differs between two trees, in words, at most the first 50 things.
#[must_use]
pub fn differences(expected: &Tree, found: &Tree) -> Vec<String> {
    let paths: BTreeSet<&Vec<u8>> = expected.keys().chain(found.keys()).collect();
    paths
        .into_iter()
        .filter_map(|path| {
            let name = format!("`{}`", path.escape_ascii());
            match (expected.get(path), found.get(path)) {
                (Some(_), None) => Some(format!("{name} is missing")),
                (None, Some(_)) => Some(format!("{name} should not be there")),
                (Some(expected), Some(found)) if expected != found => {
                    Some(format!("{name}\n  expected {expected:?}\n  found    {found:?}"))
                }
                _ => None,
            }
        })
        .take(50)
        .collect()
}
