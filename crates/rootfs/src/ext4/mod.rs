//! Writing ext4. The only module that knows the library behind it.
//!
//! ```text
//! Tree ──plan──▶ Plan ──start──▶ Writer ──fill, in the order of the sources──▶ finish
//!      sizes are fixed here     all metadata is written here
//! ```
//!
//! The same tree, identity and contents give the same bytes. What is written is checked by
//! `e2fsck -fn` in the tests, and by reading it back.
//!
//! Not responsible for where files come from ([`crate::tree`]).

mod acl;
mod sink;
mod size;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use banger_proto::ByteSize;
use mkext4::{FsBuilder, InodeCount, InodeHandle, Meta, Options, ROOT, SpecialKind};

use crate::tree::{Kind, Node, NodeId, Tree};
use sink::SparseSink;

/// Blocks of the journal of an image that is only ever read: as few as ext4 has.
const SMALLEST_JOURNAL: u32 = 1024;
/// Smallest file system, in bytes: what the journal and the tables need.
pub const SMALLEST: u64 = 16 << 20;
/// Sizes are multiples of a block, in bytes.
pub const BLOCK: u64 = 4096;
/// The directory that ext4 itself has in its root.
const LOST_AND_FOUND: &str = "lost+found";

/// Why a file system cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Ext4Error {
    /// Something ext4 cannot hold.
    #[error("`{path}` does not fit into ext4")]
    Entry {
        /// The entry.
        path: String,
        /// Why.
        #[source]
        source: mkext4::Error,
    },
    /// A broken access control list.
    #[error("`{path}` has a broken access control list in `{attribute}`")]
    Acl {
        /// The entry.
        path: String,
        /// The extended attribute.
        attribute: String,
    },
    /// A root directory entry that ext4 keeps for itself.
    #[error("`{LOST_AND_FOUND}` is a name that ext4 keeps for itself, and it is not empty")]
    LostAndFound,
    /// A size that cannot be.
    #[error("a file system of {} is {why}", ByteSize::from_bytes(*.size).human())]
    Size {
        /// The size in bytes.
        size: u64,
        /// `too small`, or what else is wrong.
        why: &'static str,
    },
    /// Nobody declared the contents that are given.
    #[error("contents number {0} belong to no file of the image")]
    Stray(u64),
    /// The library refused.
    #[error("cannot write the file system")]
    Write(#[source] mkext4::Error),
}

/// What makes two file systems differ besides their files.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its UUID; checksums and directory hashes start from it.
    pub uuid: [u8; 16],
    /// Its label, 16 bytes at most.
    pub label: String,
    /// When it was made, seconds since 1970, of 32 bits.
    pub epoch: u32,
}

impl Identity {
    /// An identity out of what the image is made of, so that the same input has the same.
    #[must_use]
    pub fn from_digest(digest: &[u8; 32], label: &str, epoch: u32) -> Self {
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&digest[..16]);
        // Version 8 (made by own rules) and the variant of RFC 9562, for who looks.
        uuid[6] = (uuid[6] & 0x0f) | 0x80;
        uuid[8] = (uuid[8] & 0x3f) | 0x80;
        Self { uuid, label: label.to_owned(), epoch }
    }
}

/// A file system whose every address is decided and nothing of which is written.
#[derive(Debug)]
pub struct Plan {
    layout: mkext4::Layout,
    handles: BTreeMap<u64, InodeHandle>,
}

/// Lays out the files of `tree` in a file system just large enough to be read.
///
/// # Errors
/// When a file has what ext4 cannot hold.
pub fn plan_tree(tree: &Tree, identity: &Identity) -> Result<Plan, Ext4Error> {
    let paths = Paths::of(tree)?;
    let estimate = size::estimate(tree, &paths.directories, &paths.objects);
    let mut options = options(estimate.bytes, identity);
    options.inodes = InodeCount::Exact(estimate.inodes);
    options.journal_blocks = Some(SMALLEST_JOURNAL);
    let mut builder = FsBuilder::new(options).map_err(Ext4Error::Write)?;
    let mut handles = BTreeMap::new();
    let mut directories: BTreeMap<NodeId, InodeHandle> = BTreeMap::from([(Tree::ROOT, ROOT)]);

    let root = tree.node(Tree::ROOT);
    builder.set_meta(ROOT, meta(root)).map_err(Ext4Error::Write)?;
    set_xattrs(&mut builder, ROOT, root, "/")?;
    // Directories first, so that every file finds its parents whatever replaced what.
    for (id, place) in &paths.directories {
        let refuse = |source| Ext4Error::Entry { path: place.path.clone(), source };
        let node = tree.node(*id);
        let handle =
            builder.mkdir(directories[&place.parent], &place.name, meta(node)).map_err(refuse)?;
        set_xattrs(&mut builder, handle, node, &place.path)?;
        directories.insert(*id, handle);
    }
    for (id, places) in &paths.objects {
        let mut first: Option<InodeHandle> = None;
        for place in places {
            let refuse = |source| Ext4Error::Entry { path: place.path.clone(), source };
            let parent = directories[&place.parent];
            if let Some(target) = first {
                builder.hardlink(parent, &place.name, target).map_err(refuse)?;
                continue;
            }
            let node = tree.node(*id);
            let handle = declare(&mut builder, parent, &place.name, node).map_err(refuse)?;
            set_xattrs(&mut builder, handle, node, &place.path)?;
            if let Kind::File { size: 1.., source } = node.kind {
                handles.insert(source, handle);
            }
            first = Some(handle);
        }
    }
    let layout = builder.seal().map_err(Ext4Error::Write)?;
    Ok(Plan { layout, handles })
}

/// Lays out an empty file system of `size` bytes for writing: a journal and inodes as
/// `mke2fs` gives, nothing kept back for root.
///
/// # Errors
/// When `size` is no multiple of [`BLOCK`], below [`SMALLEST`] or beyond 16 TiB.
pub fn plan_blank(size: u64, identity: &Identity) -> Result<Plan, Ext4Error> {
    let why = match size {
        _ if size < SMALLEST => Some("too small"),
        _ if !size.is_multiple_of(BLOCK) => Some("no whole number of 4 KiB blocks"),
        _ if size / BLOCK >= u64::from(u32::MAX) => Some("too large"),
        _ => None,
    };
    if let Some(why) = why {
        return Err(Ext4Error::Size { size, why });
    }
    let builder = FsBuilder::new(options(size, identity)).map_err(Ext4Error::Write)?;
    let layout = builder.seal().map_err(Ext4Error::Write)?;
    Ok(Plan { layout, handles: BTreeMap::new() })
}

impl Plan {
    /// Size of the file system in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.layout.image_len()
    }

    /// Whether contents are expected for `source`.
    #[must_use]
    pub fn expects(&self, source: u64) -> bool {
        self.handles.contains_key(&source)
    }

    /// Writes all metadata to `file`, which must be empty, and is made as long as the file
    /// system, with holes where nothing is.
    ///
    /// # Errors
    /// When writing fails.
    pub fn start<'a>(&'a self, file: &'a File) -> Result<Writer<'a>, Ext4Error> {
        let sink = SparseSink::new(file, self.size()).map_err(|e| Ext4Error::Write(e.into()))?;
        let writer = self.layout.writer(sink).map_err(Ext4Error::Write)?;
        Ok(Writer { plan: self, writer })
    }
}

/// A file system with all its metadata, waiting for the files' contents.
pub struct Writer<'a> {
    plan: &'a Plan,
    writer: mkext4::build::ImageWriter<'a, SparseSink<'a>>,
}

impl std::fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("plan", self.plan).finish_non_exhaustive()
    }
}

impl Writer<'_> {
    /// Writes the contents of the file that was declared with `source`; exactly as many bytes
    /// are read as were declared.
    ///
    /// # Errors
    /// When there is no such file, `contents` are too short, or reading or writing fails.
    pub fn fill(&mut self, source: u64, contents: &mut impl Read) -> Result<(), Ext4Error> {
        let handle = self.plan.handles.get(&source).ok_or(Ext4Error::Stray(source))?;
        self.writer.fill(*handle, contents).map_err(Ext4Error::Write)
    }

    /// Ends the work. Nothing is synced to the disk.
    ///
    /// # Errors
    /// When a declared file got no contents.
    pub fn finish(self) -> Result<(), Ext4Error> {
        self.writer.finish().map(|_| ()).map_err(Ext4Error::Write)
    }
}

/// One name of a node.
#[derive(Debug)]
struct Place {
    parent: NodeId,
    name: String,
    path: String,
}

/// All names of what is reachable, by node: in the order in which nodes were made, which puts
/// directories before what is in them and files in the order of their contents.
#[derive(Debug, Default)]
struct Paths {
    directories: BTreeMap<NodeId, Place>,
    objects: BTreeMap<NodeId, Vec<Place>>,
}

impl Paths {
    fn of(tree: &Tree) -> Result<Self, Ext4Error> {
        let mut paths = Self::default();
        // A list of work rather than recursion: an archive decides how deep this goes.
        let mut pending = vec![(Tree::ROOT, String::new())];
        while let Some((parent, prefix)) = pending.pop() {
            for (name, &id) in &tree.node(parent).entries {
                let path = format!("{prefix}/{name}");
                let is_directory = tree.node(id).kind == Kind::Directory;
                if parent == Tree::ROOT && name == LOST_AND_FOUND {
                    if is_directory && tree.node(id).entries.is_empty() {
                        continue;
                    }
                    return Err(Ext4Error::LostAndFound);
                }
                let place = Place { parent, name: name.clone(), path };
                if is_directory {
                    pending.push((id, place.path.clone()));
                    paths.directories.insert(id, place);
                } else {
                    paths.objects.entry(id).or_default().push(place);
                }
            }
        }
        Ok(paths)
    }
}

fn options(size: u64, identity: &Identity) -> Options {
    let mut options = Options::new(size, identity.uuid, i64::from(identity.epoch));
    options.label = Some(identity.label.clone());
    options.reserved_percent = 0;
    options
}

fn meta(node: &Node) -> Meta {
    let attributes = &node.attributes;
    Meta::new(attributes.mode, attributes.uid, attributes.gid, attributes.mtime)
}

fn declare(
    builder: &mut FsBuilder,
    parent: InodeHandle,
    name: &str,
    node: &Node,
) -> mkext4::Result<InodeHandle> {
    let meta = meta(node);
    match &node.kind {
        Kind::Directory => builder.mkdir(parent, name, meta),
        Kind::File { size, .. } => builder.file(parent, name, meta, *size),
        Kind::Symlink { target } => builder.symlink(parent, name, target, meta),
        &Kind::CharDevice { major, minor } => {
            builder.mknod(parent, name, meta, SpecialKind::Char { major, minor })
        }
        &Kind::BlockDevice { major, minor } => {
            builder.mknod(parent, name, meta, SpecialKind::Block { major, minor })
        }
        Kind::Fifo => builder.mknod(parent, name, meta, SpecialKind::Fifo),
    }
}

fn set_xattrs(
    builder: &mut FsBuilder,
    handle: InodeHandle,
    node: &Node,
    path: &str,
) -> Result<(), Ext4Error> {
    for (name, value) in &node.attributes.xattrs {
        let outcome = if acl::is_acl(name) {
            let stored = acl::to_disk(value)
                .ok_or_else(|| Ext4Error::Acl { path: path.to_owned(), attribute: name.clone() })?;
            builder.set_xattr(handle, name, &stored)
        } else {
            builder.set_xattr(handle, name, value)
        };
        outcome.map_err(|source| Ext4Error::Entry { path: path.to_owned(), source })?;
    }
    Ok(())
}

/// Length in bytes a file system needs for `bytes`, rounded up to whole blocks.
fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK)
}
