//! The files of an image in memory: names, links and limits.
//!
//! A [`Tree`] is filled in the order in which archives name their entries, layer over layer, and
//! never touches a real file system: a hostile archive can spoil the image that is made of it,
//! nothing else. Contents stay where they are; a file carries the number that its reader finds
//! it by. Names are bytes, as they are on Linux.
//!
//! ```text
//!  nodes    what there is: kind, attributes               56 bytes each
//!  entries  names of nodes, a list for every directory    20 bytes each
//!  text     names and link targets, one after the other
//!  index    (directory, name) → entry
//! ```
//!
//! Nothing is ever moved or freed before the whole tree is: what a layer replaces stays as dead
//! weight. So the limits count everything that was ever added, and bound the memory.
//!
//! Not responsible for parsing archives ([`crate::archive`]) or for writing anything
//! ([`crate::ext4`]).

mod edit;
mod limits;
mod name;
mod resolve;
mod whiteout;
mod xattrs;

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

pub use limits::{Limits, TreeError};
pub use name::shown;
pub use xattrs::Xattrs;

use resolve::Cache;
use xattrs::XattrSets;

/// What every entry has besides its name and contents, as an archive says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits with setuid, setgid and sticky: 0o7777 at most.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time: seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// Extended attributes.
    pub xattrs: Xattrs,
}

impl Attributes {
    /// What a directory gets that an archive implies and never names.
    pub(crate) fn implied() -> Self {
        Self { mode: 0o755, ..Self::default() }
    }
}

/// A run of blocks of a sparse file that have contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The first block, counted from the file's beginning.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// Something that an archive has, on its way into the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// Directory.
    Directory,
    /// Regular file.
    File {
        /// Bytes, holes included.
        size: u64,
        /// What the reader of the contents finds it by.
        source: u32,
        /// The blocks with contents of a sparse file; `None` when all have.
        pieces: Option<Vec<Piece>>,
    },
    /// Symbolic link.
    Symlink {
        /// Where it points, as it stands.
        target: Vec<u8>,
    },
    /// Character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// Block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// Named pipe.
    Fifo,
}

/// Place of a node in its tree.
pub type NodeId = u32;

/// Place of an entry in its tree.
pub(crate) type EntryId = u32;

/// No entry, no node.
const NONE: u32 = u32::MAX;

/// A stretch of [`Tree::text`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text {
    start: u32,
    len: u16,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory(Directory),
    File {
        size: u64,
        source: u32,
        /// Place in [`Tree::pieces`], or [`NONE`].
        pieces: u32,
    },
    Symlink(Text),
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}

/// The entries of a directory, and what the layer that is being read did to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Directory {
    /// First and last entry; removed ones are still among them.
    first: EntryId,
    last: EntryId,
    /// The directory it was made in; the root's is the root.
    pub(crate) parent: NodeId,
    /// The last layer that named it or anything in it.
    touched: u16,
    /// The last layer that hid what lower layers had in it.
    opaque: u16,
}

/// One file, directory or other object; its names are in its parents.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) mtime: i64,
    pub(crate) mtime_nanoseconds: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Place among the sets of extended attributes.
    xattrs: u32,
    pub(crate) mode: u16,
}

/// A name in a directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    parent: NodeId,
    /// What it names; [`NONE`] when it was removed.
    pub(crate) node: NodeId,
    name: u32,
    next: EntryId,
    /// The layer that made it what it is.
    pub(crate) layer: u16,
    name_len: u8,
}

/// The files of an image.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    entries: Vec<Entry>,
    text: Vec<u8>,
    index: HashTable<EntryId>,
    /// Seeded anew every time, so that nobody can choose names that collide. The order of the
    /// index is never looked at.
    hasher: RandomState,
    xattrs: XattrSets,
    pieces: Vec<Box<[Piece]>>,
    limits: Limits,
    /// Bytes of all files so far.
    bytes: u64,
    /// Pieces of all sparse files so far.
    piece_count: usize,
    /// The layer that is being read, from 1.
    layer: u16,
    cache: Cache,
}

impl Tree {
    /// The root directory's node.
    pub const ROOT: NodeId = 0;

    /// An empty tree; its first layer has to be begun.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let mut tree = Self {
            nodes: Vec::new(),
            entries: Vec::new(),
            text: Vec::new(),
            index: HashTable::new(),
            hasher: RandomState::new(),
            xattrs: XattrSets::default(),
            pieces: Vec::new(),
            limits,
            bytes: 0,
            piece_count: 0,
            layer: 0,
            cache: Cache::default(),
        };
        let root = Self::plain_node(Self::empty_directory(Self::ROOT));
        tree.nodes.push(root);
        tree
    }

    /// From here on entries belong to the next layer. Returns its number, from 1.
    ///
    /// # Errors
    /// When there are more layers than numbers.
    pub fn begin_layer(&mut self) -> Result<u16, TreeError> {
        self.layer = self.layer.checked_add(1).ok_or(TreeError::Layers)?;
        self.cache.clear();
        Ok(self.layer)
    }

    /// Number of nodes ever made; ids are below it.
    pub(crate) fn node_count(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id as usize]
    }

    pub(crate) fn entry(&self, id: EntryId) -> &Entry {
        &self.entries[id as usize]
    }

    pub(crate) fn name(&self, id: EntryId) -> &[u8] {
        let entry = self.entry(id);
        let start = entry.name as usize;
        &self.text[start..start + usize::from(entry.name_len)]
    }

    pub(crate) fn text(&self, text: Text) -> &[u8] {
        &self.text[text.start as usize..text.start as usize + usize::from(text.len)]
    }

    pub(crate) fn xattrs(&self, id: NodeId) -> &Xattrs {
        self.xattrs.get(self.node(id).xattrs)
    }

    /// The blocks with contents of a sparse file.
    pub(crate) fn pieces(&self, place: u32) -> Option<&[Piece]> {
        self.pieces.get(place as usize).map(|pieces| &**pieces)
    }

    /// The entries of the directory `id` in the order in which they were made.
    pub(crate) fn children(&self, id: NodeId) -> impl Iterator<Item = EntryId> {
        let mut at = match self.node(id).kind {
            Kind::Directory(directory) => directory.first,
            _ => NONE,
        };
        std::iter::from_fn(move || {
            while at != NONE {
                let (id, entry) = (at, self.entry(at));
                at = entry.next;
                if entry.node != NONE {
                    return Some(id);
                }
            }
            None
        })
    }

    pub(crate) fn is_directory(&self, id: NodeId) -> bool {
        matches!(self.node(id).kind, Kind::Directory(_))
    }

    /// The entry `name` of `directory`.
    pub(crate) fn find(&self, directory: NodeId, name: &[u8]) -> Option<EntryId> {
        let hash = self.hash(directory, name);
        let same = |&id: &EntryId| self.entry(id).parent == directory && self.name(id) == name;
        self.index.find(hash, same).copied()
    }

    fn hash(&self, directory: NodeId, name: &[u8]) -> u64 {
        self.hasher.hash_one((directory, name))
    }

    /// Any entry that names `node`, for messages: all are looked through.
    pub(crate) fn any_name(&self, node: NodeId) -> Option<EntryId> {
        self.entries.iter().position(|entry| entry.node == node).and_then(|id| id.try_into().ok())
    }

    /// The path of the entry `id`, for messages.
    pub(crate) fn path(&self, id: EntryId) -> String {
        let mut names = vec![self.name(id)];
        let mut at = self.entry(id).parent;
        // Where a message would be longer than anybody reads, it begins in the middle.
        while at != Self::ROOT && names.len() < 64 {
            let Kind::Directory(directory) = self.node(at).kind else { break };
            let holds = |&child: &EntryId| self.entry(child).node == at;
            let Some(own) = self.children(directory.parent).find(holds) else { break };
            names.push(self.name(own));
            at = directory.parent;
        }
        names.reverse();
        shown(&names.join(&b'/'))
    }
}

#[cfg(test)]
mod tests;
