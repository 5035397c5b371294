//! Adding to a tree: later entries replace earlier ones as an extraction would.

use super::name::unusable;
use super::resolve::Missing;
use super::{
    Attributes, Directory, Entry, EntryId, Kind, NONE, Node, NodeId, Object, Text, Tree, TreeError,
    shown,
};

impl Tree {
    /// Adds an entry, replacing what has its name. A directory over a directory keeps the
    /// entries and takes the new attributes. Missing parents are made (root's, 0755); symbolic
    /// links among the parents are followed inside the tree.
    ///
    /// # Errors
    /// When the name is not usable or a limit is reached.
    pub fn insert(
        &mut self,
        path: &[u8],
        object: Object,
        attributes: &Attributes,
    ) -> Result<(), TreeError> {
        let is_directory = object == Object::Directory;
        let Some((parent, name)) = self.locate(path, Missing::Make)? else { return Ok(()) };
        if name.is_empty() {
            // The root itself: it has attributes like any directory, and is nothing else.
            if !is_directory {
                return Err(unusable(path, "it is the root and not a directory"));
            }
            self.touch(Self::ROOT);
            return self.set_attributes(path, Self::ROOT, attributes);
        }
        let existing = self.find(parent, name);
        if let Some(entry) = existing.filter(|_| is_directory) {
            let node = self.entry(entry).node;
            if self.is_directory(node) {
                self.entries[entry as usize].layer = self.layer;
                self.touch(node);
                return self.set_attributes(path, node, attributes);
            }
        }
        let kind = self.admit(path, parent, object)?;
        let node = self.push_node(path, kind)?;
        self.set_attributes(path, node, attributes)?;
        self.touch(node);
        self.bind(path, parent, name, existing, node)
    }

    /// Adds a further name for what is at `target`. Should another entry replace `target` later,
    /// this name keeps what it is.
    ///
    /// # Errors
    /// As [`Tree::insert`], and when `target` is not there or a directory.
    pub fn link(&mut self, path: &[u8], target: &[u8]) -> Result<(), TreeError> {
        let refuse = |why| TreeError::Link { path: shown(path), target: shown(target), why };
        let found = match self.locate(target, Missing::Stop)? {
            Some((_, b"")) => Some(Self::ROOT),
            Some((parent, name)) => self.find(parent, name).map(|id| self.entry(id).node),
            None => None,
        };
        let node = found.ok_or_else(|| refuse("not there"))?;
        if self.is_directory(node) {
            return Err(refuse("a directory"));
        }
        let Some((parent, name)) = self.locate(path, Missing::Make)? else { return Ok(()) };
        if name.is_empty() {
            return Err(unusable(path, "it is the root and not a directory"));
        }
        let existing = self.find(parent, name);
        self.bind(path, parent, name, existing, node)
    }

    /// Makes a directory that no archive has named.
    pub(super) fn make_implied(
        &mut self,
        path: &[u8],
        parent: NodeId,
        name: &[u8],
    ) -> Result<NodeId, TreeError> {
        let node = self.push_node(path, Self::empty_directory(parent))?;
        self.bind(path, parent, name, None, node)?;
        Ok(node)
    }

    /// A directory that no layer has named yet.
    pub(super) fn empty_directory(parent: NodeId) -> Kind {
        Kind::Directory(Directory { first: NONE, last: NONE, parent, touched: 0, opaque: 0 })
    }

    /// A node with the attributes of a directory that is only implied.
    pub(super) fn plain_node(kind: Kind) -> Node {
        let Attributes { mode, uid, gid, mtime, .. } = Attributes::implied();
        let (mtime, mtime_nanoseconds) = mtime;
        Node { kind, mtime, mtime_nanoseconds, uid, gid, xattrs: 0, mode }
    }

    pub(super) fn set_attributes(
        &mut self,
        path: &[u8],
        node: NodeId,
        attributes: &Attributes,
    ) -> Result<(), TreeError> {
        let xattrs = self.xattrs.intern(&attributes.xattrs);
        self.check_text(path, 0)?;
        let node = &mut self.nodes[node as usize];
        let Attributes { mode, uid, gid, .. } = *attributes;
        let (mtime, mtime_nanoseconds) = attributes.mtime;
        *node = Node { kind: node.kind, mtime, mtime_nanoseconds, uid, gid, xattrs, mode };
        Ok(())
    }

    /// Takes in what an object has beside a node.
    fn admit(&mut self, path: &[u8], parent: NodeId, object: Object) -> Result<Kind, TreeError> {
        Ok(match object {
            Object::Directory => Self::empty_directory(parent),
            Object::File { size, source, pieces } => {
                let place = match pieces {
                    None => {
                        self.count_bytes(path, size)?;
                        NONE
                    }
                    Some(pieces) => {
                        let blocks: u64 = pieces.iter().map(|piece| u64::from(piece.count)).sum();
                        self.count_bytes(path, blocks.saturating_mul(crate::ext4::BLOCK))?;
                        self.piece_count = self.piece_count.saturating_add(pieces.len());
                        let place = u32::try_from(self.pieces.len()).unwrap_or(NONE);
                        self.pieces.push(pieces.into_boxed_slice());
                        place
                    }
                };
                Kind::File { size, source, pieces: place }
            }
            Object::Symlink { target } => Kind::Symlink(self.push_text(path, &target)?),
            Object::CharDevice { major, minor } => Kind::CharDevice { major, minor },
            Object::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
            Object::Fifo => Kind::Fifo,
        })
    }

    /// Makes `name` in `parent` a name of `node`.
    fn bind(
        &mut self,
        path: &[u8],
        parent: NodeId,
        name: &[u8],
        existing: Option<EntryId>,
        node: NodeId,
    ) -> Result<(), TreeError> {
        let layer = self.layer;
        if let Some(id) = existing {
            let old = self.entry(id).node;
            if matches!(self.node(old).kind, Kind::Directory(_) | Kind::Symlink(_)) {
                self.cache.clear();
            }
            let entry = &mut self.entries[id as usize];
            (entry.node, entry.layer) = (node, layer);
            return Ok(());
        }
        self.check_count(path, self.entries.len())?;
        let id = u32::try_from(self.entries.len()).unwrap_or(NONE);
        let text = self.push_text(path, name)?;
        // Names have 255 bytes at most.
        let name_len = u8::try_from(text.len).unwrap_or(u8::MAX);
        self.entries.push(Entry { parent, node, name: text.start, next: NONE, layer, name_len });
        let hash = self.hash(parent, name);
        let Self { index, entries, text, hasher, .. } = self;
        index.insert_unique(hash, id, |&id| {
            use std::hash::BuildHasher as _;
            let entry = &entries[id as usize];
            let start = entry.name as usize;
            hasher.hash_one((entry.parent, &text[start..start + usize::from(entry.name_len)]))
        });
        self.append(parent, id);
        Ok(())
    }

    /// Puts an entry at the end of its directory's list.
    fn append(&mut self, parent: NodeId, id: EntryId) {
        let Kind::Directory(directory) = &mut self.nodes[parent as usize].kind else { return };
        let last = std::mem::replace(&mut directory.last, id);
        if last == NONE {
            directory.first = id;
        } else {
            self.entries[last as usize].next = id;
        }
    }

    fn push_node(&mut self, path: &[u8], kind: Kind) -> Result<NodeId, TreeError> {
        self.check_count(path, self.nodes.len())?;
        let id = u32::try_from(self.nodes.len()).unwrap_or(NONE);
        let node = Self::plain_node(kind);
        self.nodes.push(node);
        Ok(id)
    }

    fn push_text(&mut self, path: &[u8], text: &[u8]) -> Result<Text, TreeError> {
        self.check_text(path, text.len())?;
        let long = || unusable(path, "it is longer than 64 KiB");
        let start = u32::try_from(self.text.len()).map_err(|_| long())?;
        let len = u16::try_from(text.len()).map_err(|_| long())?;
        self.text.extend_from_slice(text);
        Ok(Text { start, len })
    }

    fn count_bytes(&mut self, path: &[u8], size: u64) -> Result<(), TreeError> {
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limits.bytes {
            return Err(TreeError::Bytes { path: shown(path), limit: self.limits.bytes });
        }
        Ok(())
    }

    fn check_count(&self, path: &[u8], made: usize) -> Result<(), TreeError> {
        let limit = self.limits.entries;
        if made.saturating_add(self.piece_count) >= limit {
            return Err(TreeError::Entries { path: shown(path), limit });
        }
        Ok(())
    }

    fn check_text(&self, path: &[u8], more: usize) -> Result<(), TreeError> {
        let limit = self.limits.text;
        if self.text.len() + self.xattrs.bytes() + more > limit {
            return Err(TreeError::Text { path: shown(path), limit });
        }
        Ok(())
    }
}
