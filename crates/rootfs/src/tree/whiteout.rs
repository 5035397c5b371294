//! What a layer hides of the layers below it.
//!
//! A whiteout never hides what its own layer has, whichever of the two comes first in the
//! archive (<https://github.com/opencontainers/image-spec/blob/main/layer.md>, "Whiteouts").

use super::resolve::Missing;
use super::{EntryId, Kind, NONE, NodeId, Tree, TreeError};

impl Tree {
    /// Hides what lower layers have at `path`. Nothing there is nothing to hide.
    ///
    /// # Errors
    /// When the name is not usable.
    pub fn hide(&mut self, path: &[u8]) -> Result<(), TreeError> {
        let Some((parent, name)) = self.locate(path, Missing::Stop)? else { return Ok(()) };
        let Some(id) = self.find(parent, name) else { return Ok(()) };
        if self.is_kept(id) {
            self.hide_contents(self.entry(id).node);
        } else {
            self.unlink(id);
        }
        Ok(())
    }

    /// Hides what lower layers have in the directory that the entry `path` would be in.
    ///
    /// # Errors
    /// When the name is not usable.
    pub fn hide_siblings(&mut self, path: &[u8]) -> Result<(), TreeError> {
        if let Some((directory, _)) = self.locate(path, Missing::Stop)? {
            self.hide_contents(directory);
        }
        Ok(())
    }

    /// A list of work rather than recursion: an archive decides how deep this goes. A directory
    /// is gone through once for a layer, so many whiteouts of the same cost no more than one.
    fn hide_contents(&mut self, directory: NodeId) {
        let mut pending = vec![directory];
        while let Some(id) = pending.pop() {
            let layer = self.layer;
            let Kind::Directory(directory) = &mut self.nodes[id as usize].kind else { continue };
            if std::mem::replace(&mut directory.opaque, layer) == layer {
                continue;
            }
            let mut at = directory.first;
            (directory.first, directory.last) = (NONE, NONE);
            let (mut first, mut last) = (NONE, NONE);
            while at != NONE {
                let (entry, next) = (at, self.entry(at).next);
                at = next;
                if self.entry(entry).node == NONE {
                    continue;
                }
                if !self.is_kept(entry) {
                    self.unlink(entry);
                    continue;
                }
                let node = self.entry(entry).node;
                if self.is_directory(node) {
                    pending.push(node);
                }
                self.entries[entry as usize].next = NONE;
                if last == NONE {
                    first = entry;
                } else {
                    self.entries[last as usize].next = entry;
                }
                last = entry;
            }
            if let Kind::Directory(directory) = &mut self.nodes[id as usize].kind {
                (directory.first, directory.last) = (first, last);
            }
        }
    }

    /// Whether the layer that is being read has this entry too. A directory that it only implies
    /// stays, but nothing of what a lower layer said about it.
    fn is_kept(&mut self, id: EntryId) -> bool {
        let entry = *self.entry(id);
        let own = entry.layer == self.layer;
        let Kind::Directory(directory) = self.node(entry.node).kind else { return own };
        if directory.touched != self.layer {
            return false;
        }
        if !own {
            let node = Self::plain_node(Kind::Directory(directory));
            self.nodes[entry.node as usize] = node;
            self.entries[id as usize].layer = self.layer;
        }
        true
    }

    fn unlink(&mut self, id: EntryId) {
        self.cache.clear();
        let hash = self.hash(self.entry(id).parent, self.name(id));
        if let Ok(found) = self.index.find_entry(hash, |&other| other == id) {
            found.remove();
        }
        self.entries[id as usize].node = NONE;
    }
}
