//! The files of an image in memory: names, links and limits.
//!
//! A [`Tree`] is filled in the order in which an archive names its entries, later ones replacing
//! earlier ones as an extraction would, and never touches a real file system: a hostile archive
//! can spoil the image that is made of it, nothing else. Contents stay where they are; a file
//! carries the number that its reader finds it by.
//!
//! Not responsible for parsing archives ([`crate::tar_entry`]) or for writing anything
//! ([`crate::ext4`]).

use std::collections::BTreeMap;

use banger_proto::ByteSize;

/// Longest chain of symbolic links followed for one name: what Linux follows.
const MAX_SYMLINKS: usize = 40;
/// Longest name of one entry, in bytes: `NAME_MAX`.
const MAX_NAME: usize = 255;
/// Longest path, in bytes: `PATH_MAX`.
const MAX_PATH: usize = 4096;

/// What an image may grow to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Files, directories and so on, implied parent directories included.
    pub entries: usize,
    /// Bytes of all files together.
    pub bytes: u64,
}

impl Default for Limits {
    /// Two million entries, 64 GiB: ten times the largest images in common use.
    fn default() -> Self {
        Self { entries: 2_000_000, bytes: 64 << 30 }
    }
}

/// Why an entry cannot be part of an image.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TreeError {
    /// A name that could lead out of the image, or that no file can have.
    #[error("`{path}` is no usable name: {why}")]
    Name {
        /// The name as it was given.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A parent of the entry is there and is not a directory.
    #[error("`{path}` has a parent that is not a directory")]
    Parent {
        /// The entry.
        path: String,
    },
    /// Symbolic links in the entry's name lead nowhere.
    #[error("`{path}` goes through more than {MAX_SYMLINKS} symbolic links")]
    Loop {
        /// The entry.
        path: String,
    },
    /// A hard link to what is not there, or to a directory.
    #[error("`{path}` is a hard link to `{target}`, which is {why}")]
    Link {
        /// The entry.
        path: String,
        /// What it links to.
        target: String,
        /// `not there` or `a directory`.
        why: &'static str,
    },
    /// Too many entries.
    #[error("more than {limit} entries")]
    Entries {
        /// The limit.
        limit: usize,
    },
    /// Too many bytes.
    #[error("`{path}` takes the contents past the limit of {}", ByteSize::from_bytes(*.limit).human())]
    Bytes {
        /// The entry.
        path: String,
        /// The limit in bytes.
        limit: u64,
    },
}

/// What every entry has besides its name and contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits with setuid, setgid and sticky: 0o7777 at most.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time: seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// Extended attributes by full name, values as `getxattr` gives them.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Attributes {
    /// What a directory gets that an archive implies and never names.
    fn implied() -> Self {
        Self { mode: 0o755, uid: 0, gid: 0, mtime: (0, 0), xattrs: BTreeMap::new() }
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Directory; its entries belong to the tree.
    Directory,
    /// Regular file.
    File {
        /// Bytes.
        size: u64,
        /// What the reader of the contents finds it by.
        source: u64,
    },
    /// Symbolic link.
    Symlink {
        /// Where it points, as it stands.
        target: String,
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
pub type NodeId = usize;

/// One file, directory or other object; its names are in its parents.
#[derive(Debug)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Its attributes.
    pub attributes: Attributes,
    /// Entries by name, of a directory.
    pub entries: BTreeMap<String, NodeId>,
    /// The directory it was made in; the root's is the root.
    parent: NodeId,
}

/// The files of an image.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    limits: Limits,
    bytes: u64,
}

impl Tree {
    /// The root directory's node.
    pub const ROOT: NodeId = 0;

    /// An empty tree.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let root = Node {
            kind: Kind::Directory,
            attributes: Attributes::implied(),
            entries: BTreeMap::new(),
            parent: Self::ROOT,
        };
        Self { nodes: vec![root], limits, bytes: 0 }
    }

    /// The node `id`.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// Number of nodes ever made, replaced ones included; ids are below it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether nothing but the root is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 1
    }

    /// Adds an entry, replacing what has its name. A directory over a directory keeps the
    /// entries and takes the new attributes. Missing parents are made (root's, 0755); symbolic
    /// links among the parents are followed inside the tree.
    ///
    /// # Errors
    /// When the name is not usable or a limit is reached.
    pub fn insert(
        &mut self,
        path: &str,
        kind: Kind,
        attributes: Attributes,
    ) -> Result<(), TreeError> {
        let Some((parent, name)) = self.ensure_parent(path)? else {
            // The root itself: it has attributes like any directory, and is nothing else.
            return match kind {
                Kind::Directory => {
                    self.nodes[Self::ROOT].attributes = attributes;
                    Ok(())
                }
                _ => Err(unusable(path, "it is the root and not a directory")),
            };
        };
        if let Kind::File { size, .. } = kind {
            self.bytes = self.bytes.saturating_add(size);
            if self.bytes > self.limits.bytes {
                return Err(TreeError::Bytes { path: path.to_owned(), limit: self.limits.bytes });
            }
        }
        let existing = self.nodes[parent].entries.get(&name).copied();
        match existing {
            Some(id) if kind == Kind::Directory && self.nodes[id].kind == Kind::Directory => {
                self.nodes[id].attributes = attributes;
            }
            _ => {
                let id = self.push(parent, kind, attributes)?;
                self.nodes[parent].entries.insert(name, id);
            }
        }
        Ok(())
    }

    /// Adds a further name for what is at `target`.
    ///
    /// # Errors
    /// As [`Tree::insert`], and when `target` is not there or a directory.
    pub fn link(&mut self, path: &str, target: &str) -> Result<(), TreeError> {
        let refuse =
            |why| TreeError::Link { path: path.to_owned(), target: target.to_owned(), why };
        let found = match self.ensure_parent(target)? {
            Some((parent, name)) => self.nodes[parent].entries.get(&name).copied(),
            None => Some(Self::ROOT),
        };
        let id = found.ok_or_else(|| refuse("not there"))?;
        if self.nodes[id].kind == Kind::Directory {
            return Err(refuse("a directory"));
        }
        let Some((parent, name)) = self.ensure_parent(path)? else {
            return Err(unusable(path, "it is the root and not a directory"));
        };
        self.nodes[parent].entries.insert(name, id);
        Ok(())
    }

    /// Finds the directory that holds `path`'s last component, making what is missing. `None`
    /// when `path` is the root.
    fn ensure_parent(&mut self, path: &str) -> Result<Option<(NodeId, String)>, TreeError> {
        let mut components = split(path)?;
        let Some(name) = components.pop() else { return Ok(None) };
        let mut pending: Vec<String> = components.into_iter().rev().map(str::to_owned).collect();
        let mut at = Self::ROOT;
        let mut followed = 0;
        while let Some(component) = pending.pop() {
            // Only targets of symbolic links still hold these; they end at the root.
            if component == ".." {
                at = self.nodes[at].parent;
                continue;
            }
            let Some(&next) = self.nodes[at].entries.get(&component) else {
                let made = self.push(at, Kind::Directory, Attributes::implied())?;
                self.nodes[at].entries.insert(component, made);
                at = made;
                continue;
            };
            match &self.nodes[next].kind {
                Kind::Directory => at = next,
                Kind::Symlink { target } => {
                    followed += 1;
                    if followed > MAX_SYMLINKS {
                        return Err(TreeError::Loop { path: path.to_owned() });
                    }
                    if target.starts_with('/') {
                        at = Self::ROOT;
                    }
                    let components = target.split('/').filter(|part| !matches!(*part, "" | "."));
                    pending.extend(components.rev().map(str::to_owned));
                }
                _ => return Err(TreeError::Parent { path: path.to_owned() }),
            }
        }
        Ok(Some((at, name.to_owned())))
    }

    fn push(
        &mut self,
        parent: NodeId,
        kind: Kind,
        attributes: Attributes,
    ) -> Result<NodeId, TreeError> {
        if self.nodes.len() >= self.limits.entries {
            return Err(TreeError::Entries { limit: self.limits.entries });
        }
        self.nodes.push(Node { kind, attributes, entries: BTreeMap::new(), parent });
        Ok(self.nodes.len() - 1)
    }
}

/// The components of an entry's name. A leading slash is dropped, as every tar does.
fn split(path: &str) -> Result<Vec<&str>, TreeError> {
    if path.len() > MAX_PATH {
        return Err(unusable(path, "it is longer than 4096 bytes"));
    }
    let mut components = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => return Err(unusable(path, "it contains `..`")),
            name if name.len() > MAX_NAME => {
                return Err(unusable(path, "a component is longer than 255 bytes"));
            }
            name if name.contains('\0') => return Err(unusable(path, "it contains a NUL")),
            name => components.push(name),
        }
    }
    Ok(components)
}

fn unusable(path: &str, why: &'static str) -> TreeError {
    // A name may be megabytes long; an error is for reading.
    let path = path.chars().take(200).collect();
    TreeError::Name { path, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(mode: u16) -> Attributes {
        Attributes { mode, ..Attributes::implied() }
    }

    fn file(source: u64) -> Kind {
        Kind::File { size: 1, source }
    }

    fn at<'a>(tree: &'a Tree, path: &str) -> Option<&'a Node> {
        path.split('/').try_fold(tree.node(Tree::ROOT), |node, name| {
            node.entries.get(name).map(|&id| tree.node(id))
        })
    }

    #[test]
    fn makes_missing_parents_and_drops_leading_slashes() {
        let mut tree = Tree::new(Limits::default());
        tree.insert("/usr/bin/true", file(1), attributes(0o755)).unwrap();
        tree.insert("./usr/", Kind::Directory, attributes(0o700)).unwrap();
        assert_eq!(at(&tree, "usr").unwrap().attributes.mode, 0o700);
        assert_eq!(at(&tree, "usr/bin/true").unwrap().kind, file(1));
        tree.insert(".", Kind::Directory, attributes(0o711)).unwrap();
        assert_eq!(tree.node(Tree::ROOT).attributes.mode, 0o711);
    }

    #[test]
    fn later_entries_replace_earlier_ones() {
        let mut tree = Tree::new(Limits::default());
        tree.insert("a/b", file(1), attributes(0o644)).unwrap();
        tree.insert("a", file(2), attributes(0o644)).unwrap();
        assert_eq!(at(&tree, "a").unwrap().kind, file(2));
        tree.insert("a", Kind::Directory, attributes(0o755)).unwrap();
        assert!(at(&tree, "a").unwrap().entries.is_empty());
    }

    #[test]
    fn follows_links_among_parents_and_never_leaves_the_tree() {
        let mut tree = Tree::new(Limits::default());
        let link = |target: &str| Kind::Symlink { target: target.to_owned() };
        tree.insert("lib", link("usr/lib"), attributes(0o777)).unwrap();
        tree.insert("lib/x", file(1), attributes(0o644)).unwrap();
        assert_eq!(at(&tree, "usr/lib/x").unwrap().kind, file(1));
        tree.insert("out", link("../../../../etc"), attributes(0o777)).unwrap();
        tree.insert("out/passwd", file(2), attributes(0o644)).unwrap();
        assert_eq!(at(&tree, "etc/passwd").unwrap().kind, file(2));
        // The last component is replaced, never followed.
        tree.insert("lib", file(3), attributes(0o644)).unwrap();
        assert_eq!(at(&tree, "lib").unwrap().kind, file(3));
        tree.insert("loop", link("loop"), attributes(0o777)).unwrap();
        assert!(matches!(
            tree.insert("loop/x", file(4), attributes(0o644)),
            Err(TreeError::Loop { .. })
        ));
    }

    #[test]
    fn refuses_unsafe_names() {
        let mut tree = Tree::new(Limits::default());
        for bad in ["../x", "a/../x", "a/..", "..", &format!("a/{}", "n".repeat(256))] {
            let outcome = tree.insert(bad, file(1), attributes(0o644));
            assert!(matches!(outcome, Err(TreeError::Name { .. })), "{bad}");
        }
        assert!(matches!(tree.link("x", "../../etc/shadow"), Err(TreeError::Name { .. })));
        assert!(tree.insert("", file(1), attributes(0o644)).is_err());
    }

    #[test]
    fn hard_links_share_the_node() {
        let mut tree = Tree::new(Limits::default());
        tree.insert("a", file(1), attributes(0o644)).unwrap();
        tree.link("d/b", "./a").unwrap();
        let root = tree.node(Tree::ROOT);
        assert_eq!(tree.node(root.entries["d"]).entries["b"], root.entries["a"]);
        let refused = |outcome: Result<(), TreeError>| outcome.unwrap_err().to_string();
        assert_eq!(
            refused(tree.link("x", "nope")),
            "`x` is a hard link to `nope`, which is not there"
        );
        assert_eq!(refused(tree.link("x", "d")), "`x` is a hard link to `d`, which is a directory");
    }

    #[test]
    fn keeps_its_limits() {
        let mut tree = Tree::new(Limits { entries: 4, bytes: 2 });
        tree.insert("a/b", file(1), attributes(0o644)).unwrap();
        tree.insert("c", file(2), attributes(0o644)).unwrap();
        assert_eq!(
            tree.insert("d", file(3), attributes(0o644)),
            Err(TreeError::Bytes { path: "d".into(), limit: 2 })
        );
        assert_eq!(
            tree.insert("e/f", Kind::Fifo, attributes(0o644)),
            Err(TreeError::Entries { limit: 4 })
        );
    }
}
