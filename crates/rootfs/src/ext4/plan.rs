//! Which file gets which inode and which blocks.

use mkext4::{csum, dirhash};

use super::geometry::{Geometry, RESERVED_INODES, plan_geometry};
use super::{
    BLOCK, Ext4Error, Identity, LOST_AND_FOUND, MAX_LINKS, directory, extents, inode, xattr,
};
use crate::tree::{Attributes, Kind, NodeId, Object, Tree};

/// Number of the root directory's inode.
const ROOT_INODE: u32 = 2;

/// What a file got. Inodes are in the order of the nodes, which is the order of the contents.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) node: NodeId,
    /// Where its metadata begins, counted from the first block of all metadata: the attributes'
    /// block, then the extent tree or the directory or the link's target.
    pub(super) metadata: u32,
    /// Where its contents begin, counted from the first block of all contents; of a directory,
    /// how many blocks it has.
    pub(super) contents: u32,
}

/// A file system whose every address is decided and nothing of which is written.
#[derive(Debug)]
pub struct Plan<'a> {
    pub(super) tree: &'a Tree,
    pub(super) identity: Identity,
    pub(super) geometry: Geometry,
    /// The root, then everything else.
    pub(super) places: Vec<Place>,
    /// Inode of each node; 0 of those that are not in the image.
    inodes: Vec<u32>,
    /// Links to each node.
    pub(super) links: Vec<u32>,
    pub(super) fs_seed: u32,
    pub(super) hash_seed: [u32; 4],
}

/// Lays out the files of `tree` in a file system just large enough to be read.
///
/// # Errors
/// When a file has what ext4 cannot hold.
pub fn plan_tree(tree: &mut Tree, identity: Identity) -> Result<Plan<'_>, Ext4Error> {
    ensure_lost_and_found(tree, identity.epoch)?;
    let tree: &Tree = tree;
    let hash_seed = dirhash::seed_from_uuid(&identity.uuid);
    let links = count_links(tree)?;
    let mut inodes = vec![0; links.len()];
    let mut places = Vec::with_capacity(links.iter().filter(|&&links| links > 0).count());
    let (mut metadata, mut contents) = (0_u64, 0_u64);
    for (id, _) in (0..).zip(&links).filter(|(_, links)| **links > 0) {
        inodes[id as usize] = inode_number(places.len());
        let node = tree.node(id);
        let mut place =
            Place { node: id, metadata: number(metadata)?, contents: number(contents)? };
        let attributes = tree.xattrs(id);
        if !attributes.is_empty() {
            // What does not fit was refused before it came into the tree.
            metadata += u64::from(xattr::split(attributes).is_ok_and(|split| split.needs_block()));
        }
        match node.kind {
            Kind::Directory(_) => {
                place.contents = directory::measure(tree, id, hash_seed)
                    .ok_or_else(|| refuse(tree, id, "has more entries than ext4 can index"))?;
                metadata += u64::from(place.contents);
            }
            Kind::File { size, pieces, .. } => {
                let (blocks, tree_blocks) = extents::measure(size, tree.pieces(pieces));
                contents += blocks;
                metadata += tree_blocks;
            }
            Kind::Symlink(target) => metadata += u64::from(!inode::is_short(tree.text(target))),
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Fifo => {}
        }
        places.push(place);
    }
    let used = number(places.len() as u64)?.saturating_add(RESERVED_INODES - 1);
    let geometry = plan_geometry(used, metadata, contents)?;
    let fs_seed = csum::fs_seed(&identity.uuid);
    Ok(Plan { tree, identity, geometry, places, inodes, links, fs_seed, hash_seed })
}

impl Plan<'_> {
    /// Size of the file system in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        u64::from(self.geometry.blocks) * BLOCK
    }

    /// Files, directories and so on, the root included.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.places.len() as u64
    }

    pub(super) fn inode_of(&self, node: NodeId) -> u32 {
        self.inodes[node as usize]
    }

    /// What the checksums of an inode's blocks start from.
    pub(super) fn inode_seed(&self, inode: u32) -> u32 {
        csum::inode_seed(self.fs_seed, inode, 0)
    }

    /// Inodes that are not free, those of ext4 included.
    pub(super) fn used_inodes(&self) -> u32 {
        u32::try_from(self.places.len()).unwrap_or(u32::MAX) - 1 + RESERVED_INODES
    }
}

/// Number of the inode of the `place`th file.
pub(super) fn inode_number(place: usize) -> u32 {
    match u32::try_from(place) {
        Ok(0) => ROOT_INODE,
        place => RESERVED_INODES + place.unwrap_or(u32::MAX - RESERVED_INODES),
    }
}

/// `e2fsck` complains about a file system that has nowhere to put what it finds.
fn ensure_lost_and_found(tree: &mut Tree, epoch: u32) -> Result<(), Ext4Error> {
    if let Some(entry) = tree.find(Tree::ROOT, LOST_AND_FOUND) {
        let node = tree.entry(entry).node;
        if tree.is_directory(node) {
            return Ok(());
        }
        return Err(refuse(tree, node, "is a name that ext4 keeps for a directory of its own"));
    }
    let attributes =
        Attributes { mode: 0o700, mtime: (i64::from(epoch), 0), ..Attributes::default() };
    tree.insert(LOST_AND_FOUND, Object::Directory, &attributes).map_err(|_| Ext4Error::Entry {
        path: String::from_utf8_lossy(LOST_AND_FOUND).into_owned(),
        layer: 0,
        why: "finds no room among the image's entries",
    })
}

/// Links to every node: names, and of a directory its own `.` and the `..` of what is in it. Zero
/// for what is not in the image.
fn count_links(tree: &Tree) -> Result<Vec<u32>, Ext4Error> {
    let mut links = vec![0_u32; tree.node_count()];
    links[Tree::ROOT as usize] = 2;
    // A list of work rather than recursion: an archive decides how deep this goes.
    let mut pending = vec![Tree::ROOT];
    while let Some(directory) = pending.pop() {
        for entry in tree.children(directory) {
            let node = tree.entry(entry).node;
            if tree.is_directory(node) {
                links[node as usize] = 2;
                links[directory as usize] += 1;
                pending.push(node);
                continue;
            }
            links[node as usize] += 1;
            if links[node as usize] > MAX_LINKS {
                let (path, layer) = (tree.path(entry), tree.entry(entry).layer);
                let why = "is one more than the 65000 names that a file may have";
                return Err(Ext4Error::Entry { path, layer, why });
            }
        }
    }
    Ok(links)
}

fn refuse(tree: &Tree, node: NodeId, why: &'static str) -> Ext4Error {
    let entry = tree.any_name(node);
    let path = entry.map_or_else(|| "/".to_owned(), |entry| tree.path(entry));
    let layer = entry.map_or(0, |entry| tree.entry(entry).layer);
    Ext4Error::Entry { path, layer, why }
}

fn number(blocks: u64) -> Result<u32, Ext4Error> {
    let size = blocks.saturating_mul(BLOCK);
    u32::try_from(blocks).map_err(|_| Ext4Error::Size { size, why: "too large" })
}
