//! How large a file system has to be for given files.
//!
//! An upper bound: the file behind an image is sparse, so what is too much costs nothing, and
//! what is too little is an image that cannot be made.

use std::collections::BTreeMap;

use super::{BLOCK, Place, SMALLEST, SMALLEST_JOURNAL, blocks};
use crate::tree::{Kind, NodeId, Tree};

/// Bytes of an inode.
const INODE: u64 = 256;
/// Inodes of ext4 itself, `lost+found` among them.
const OWN_INODES: u64 = 11;
/// Blocks one extent reaches over.
const EXTENT: u64 = 32_768;
/// Bytes of the file system per inode at least. A block group holds 32768 inodes in 128 MiB, one
/// to 4 KiB; with half as many the tables of 16 groups stay clear of the first backup.
const BYTES_PER_INODE: u64 = 8192;

/// Size and inodes of a file system.
#[derive(Debug, Clone, Copy)]
pub(super) struct Estimate {
    /// Bytes, whole MiB.
    pub(super) bytes: u64,
    /// Inodes.
    pub(super) inodes: u32,
}

pub(super) fn estimate(
    tree: &Tree,
    directories: &BTreeMap<NodeId, Place>,
    objects: &BTreeMap<NodeId, Vec<Place>>,
) -> Estimate {
    let inodes = (directories.len() + objects.len()) as u64 + OWN_INODES;
    let mut needed = u64::from(SMALLEST_JOURNAL) + blocks(inodes * INODE);
    for id in std::iter::once(&Tree::ROOT).chain(directories.keys()).chain(objects.keys()) {
        let node = tree.node(*id);
        needed += match &node.kind {
            Kind::Directory => {
                // An entry takes 8 bytes and its name, at most 3 more; a block may stay empty by
                // one entry; blocks of the index come on top, one to some hundred.
                let bytes: u64 = node.entries.keys().map(|name| name.len() as u64 + 11).sum();
                let leaves = bytes.div_ceil(BLOCK - 12 - 266) + 1;
                leaves + leaves / 200 + 2
            }
            // Extents end at 128 MiB and where a group's tables are in the way.
            Kind::File { size, .. } => blocks(*size) + blocks(*size) / EXTENT,
            Kind::Symlink { target } if target.len() > 59 => 1,
            _ => 0,
        };
        needed += u64::from(!node.attributes.xattrs.is_empty());
    }
    // A group of 32768 blocks has two of bitmaps, and some have copies of the superblock.
    let bytes = (needed + needed / 50) * BLOCK + SMALLEST;
    let bytes = bytes.max(inodes * BYTES_PER_INODE).next_multiple_of(1 << 20);
    Estimate { bytes, inodes: u32::try_from(inodes).unwrap_or(u32::MAX) }
}
