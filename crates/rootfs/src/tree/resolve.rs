//! Finding the directory that a path leads to, without ever leaving the tree.

use super::name::{MAX_STEPS, Path, components, parse_path};
use super::{Kind, NodeId, Text, Tree, TreeError, shown};

/// Longest chain of symbolic links followed for one name: what Linux follows.
const MAX_SYMLINKS: usize = 40;

/// What happens where a directory is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is made, as archives imply it.
    Make,
    /// Then there is nothing to be found.
    Stop,
}

/// The directory that was found last. Archives name the files of a directory one after the
/// other, so this is nearly always the one that is wanted.
#[derive(Debug, Default)]
pub(super) struct Cache {
    path: Vec<u8>,
    directory: Option<NodeId>,
}

impl Cache {
    /// Has to be done whenever something is removed or replaced that paths go through.
    pub(super) fn clear(&mut self) {
        self.directory = None;
    }
}

/// A component that is still to be gone through.
#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Path(&'a [u8]),
    /// Of a symbolic link's target: the bytes are the tree's, which grows meanwhile.
    Target(Text),
}

impl Tree {
    /// Finds the directory that holds `path`'s last component, and that component: empty when
    /// `path` is the root. `None` when a directory is missing and not to be made.
    pub(super) fn locate<'a>(
        &mut self,
        path: &'a [u8],
        missing: Missing,
    ) -> Result<Option<(NodeId, &'a [u8])>, TreeError> {
        let Path { parent, name } = parse_path(path)?;
        if let Some(directory) = self.cache.directory.filter(|_| self.cache.path == parent) {
            return Ok(Some((directory, name)));
        }
        let Some(directory) = self.walk(path, parent, missing)? else { return Ok(None) };
        // What was only looked for is not marked as touched by this layer, and the cache is for
        // what is.
        if missing == Missing::Make {
            self.touch(directory);
            self.cache.path.clear();
            self.cache.path.extend_from_slice(parent);
            self.cache.directory = Some(directory);
        }
        Ok(Some((directory, name)))
    }

    fn walk(
        &mut self,
        path: &[u8],
        parent: &[u8],
        missing: Missing,
    ) -> Result<Option<NodeId>, TreeError> {
        let mut pending: Vec<Step<'_>> = components(parent).rev().map(Step::Path).collect();
        let mut at = Self::ROOT;
        let (mut followed, mut steps) = (0, 0);
        while let Some(step) = pending.pop() {
            steps += 1;
            if steps > MAX_STEPS {
                return Err(TreeError::Loop { path: shown(path) });
            }
            let component = match step {
                Step::Path(component) => component,
                Step::Target(text) => self.text(text),
            };
            // Only targets of symbolic links still hold these; they end at the root.
            if component == b".." {
                at = self.parent(at);
                continue;
            }
            let Some(entry) = self.find(at, component) else {
                if missing == Missing::Stop {
                    return Ok(None);
                }
                let component = component.to_vec();
                at = self.make_implied(path, at, &component)?;
                continue;
            };
            let next = self.entry(entry).node;
            match self.node(next).kind {
                Kind::Directory(_) => at = next,
                Kind::Symlink(target) => {
                    followed += 1;
                    if followed > MAX_SYMLINKS || pending.len() > MAX_STEPS {
                        return Err(TreeError::Loop { path: shown(path) });
                    }
                    if self.text(target).starts_with(b"/") {
                        at = Self::ROOT;
                    }
                    self.push_target(target, &mut pending);
                }
                _ if missing == Missing::Stop => return Ok(None),
                _ => return Err(TreeError::Parent { path: shown(path) }),
            }
        }
        Ok(Some(at))
    }

    /// Puts the components of a link's target on the list of work.
    fn push_target(&self, target: Text, pending: &mut Vec<Step<'_>>) {
        let from = pending.len();
        let mut start = target.start;
        for part in self.text(target).split(|&byte| byte == b'/') {
            // The target itself has 16 bits of length.
            let len = u16::try_from(part.len()).unwrap_or(u16::MAX);
            if !matches!(part, b"" | b".") {
                pending.push(Step::Target(Text { start, len }));
            }
            start += u32::from(len) + 1;
        }
        pending[from..].reverse();
    }

    fn parent(&self, directory: NodeId) -> NodeId {
        match self.node(directory).kind {
            Kind::Directory(directory) => directory.parent,
            _ => Self::ROOT,
        }
    }

    /// Marks `directory` and all above it as named by the layer that is being read.
    pub(super) fn touch(&mut self, mut directory: NodeId) {
        let layer = self.layer;
        while let Kind::Directory(at) = &mut self.nodes[directory as usize].kind {
            if at.touched == layer {
                return;
            }
            at.touched = layer;
            directory = at.parent;
        }
    }
}
