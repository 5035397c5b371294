//! The blocks of a directory: a list while one block is enough, else hashed ([`super::htree`]).

use mkext4::csum;
use mkext4::spec::file_type;

use super::htree::HashTree;
use super::plan::Plan;
use super::{BLOCK_LEN, put_u16, put_u32};
use crate::tree::{EntryId, Kind, NodeId, Tree};

/// Bytes at the end of a block that hold its checksum, in the form of an unused entry.
pub(super) const TAIL: usize = 12;
/// Type of that entry.
const TAIL_TYPE: u8 = 0xde;
/// Bytes of an entry before its name.
const ENTRY: usize = 8;

/// A block of entries that is being filled.
pub(super) struct EntryBlock {
    bytes: [u8; BLOCK_LEN],
    at: usize,
    last: usize,
}

impl EntryBlock {
    /// Bytes that entries may take.
    pub(super) const ROOM: usize = BLOCK_LEN - TAIL;

    pub(super) fn new() -> Self {
        Self { bytes: [0; BLOCK_LEN], at: 0, last: 0 }
    }

    pub(super) fn push(&mut self, name: &[u8], inode: u32, kind: u8) {
        let length = entry_len(name.len());
        let entry = &mut self.bytes[self.at..self.at + length];
        put_u32(entry, 0, inode);
        put_u16(entry, 4, u16::try_from(length).unwrap_or(0));
        entry[6] = u8::try_from(name.len()).unwrap_or(0);
        entry[7] = kind;
        entry[ENTRY..ENTRY + name.len()].copy_from_slice(name);
        self.last = self.at;
        self.at += length;
    }

    /// The block with its checksum; the last entry reaches up to it.
    pub(super) fn finish(mut self, inode_seed: u32) -> [u8; BLOCK_LEN] {
        put_u16(&mut self.bytes, self.last + 4, u16::try_from(Self::ROOM - self.last).unwrap_or(0));
        put_u16(&mut self.bytes, Self::ROOM + 4, 12);
        self.bytes[Self::ROOM + 7] = TAIL_TYPE;
        let checksum = csum::dirent_block(inode_seed, &self.bytes);
        put_u32(&mut self.bytes, BLOCK_LEN - 4, checksum);
        self.bytes
    }
}

/// Bytes of an entry with a name of `name` bytes.
pub(super) fn entry_len(name: usize) -> usize {
    (ENTRY + name).next_multiple_of(4)
}

/// Whether the entries, `.` and `..` among them, fit into one block.
fn is_small(tree: &Tree, directory: NodeId) -> bool {
    let mut room = EntryBlock::ROOM - entry_len(1) - entry_len(2);
    tree.children(directory).all(|entry| {
        let left = room.checked_sub(entry_len(tree.name(entry).len()));
        room = left.unwrap_or(0);
        left.is_some()
    })
}

/// Blocks that the directory takes; `None` when it has more entries than can be hashed.
pub(super) fn measure(tree: &Tree, directory: NodeId, hash_seed: [u32; 4]) -> Option<u32> {
    if is_small(tree, directory) {
        return Some(1);
    }
    HashTree::of(tree, directory, hash_seed).blocks()
}

/// Whether a directory of so many blocks is hashed.
pub(super) fn is_hashed(blocks: u32) -> bool {
    blocks > 1
}

/// Gives the blocks of `directory` to `put`, in order.
pub(super) fn render<E>(
    plan: &Plan<'_>,
    directory: NodeId,
    parent: NodeId,
    blocks: u32,
    mut put: impl FnMut(&[u8; BLOCK_LEN]) -> Result<(), E>,
) -> Result<(), E> {
    let (own, parent) = (plan.inode_of(directory), plan.inode_of(parent));
    if is_hashed(blocks) {
        return HashTree::of(plan.tree, directory, plan.hash_seed).render(plan, own, parent, put);
    }
    let mut block = EntryBlock::new();
    block.push(b".", own, file_type::DIR);
    block.push(b"..", parent, file_type::DIR);
    for entry in plan.tree.children(directory) {
        push_entry(&mut block, plan, entry);
    }
    put(&block.finish(plan.inode_seed(own)))
}

pub(super) fn push_entry(block: &mut EntryBlock, plan: &Plan<'_>, entry: EntryId) {
    let node = plan.tree.entry(entry).node;
    let kind = match plan.tree.node(node).kind {
        Kind::Directory(_) => file_type::DIR,
        Kind::File { .. } => file_type::REG,
        Kind::Symlink(_) => file_type::SYMLINK,
        Kind::CharDevice { .. } => file_type::CHR,
        Kind::BlockDevice { .. } => file_type::BLK,
        Kind::Fifo => file_type::FIFO,
    };
    block.push(plan.tree.name(entry), plan.inode_of(node), kind);
}
