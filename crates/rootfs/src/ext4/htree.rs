//! Large directories: entries sorted by the hash of their names, below an index of one or two
//! levels (`Documentation/filesystems/ext4/directory.rst` in the kernel, "Hash Tree Directories").
//!
//! ```text
//! block 0        root of the index, with `.` and `..`
//! 1 to n         entries by hash, blocks filled up
//! from n + 1     the index's second level, where one is not enough
//! ```

use mkext4::csum;
use mkext4::dirhash::{Signedness, half_md4};
use mkext4::spec::file_type;

use super::directory::{EntryBlock, entry_len, push_entry};
use super::plan::Plan;
use super::{BLOCK_LEN, put_u16, put_u32};
use crate::tree::{EntryId, NodeId, Tree};

/// Where the index begins in the root, after `.`, `..` and a description of itself.
const ROOT_INDEX: usize = 0x20;
/// Where it begins in other blocks, after an unused entry.
const NODE_INDEX: usize = 8;
/// Bytes of an entry of the index, and of the checksum after it.
const INDEX_ENTRY: usize = 8;
/// Entries in the root and in a block of the second level; the checksum takes the room of one.
const ROOT_ROOM: usize = (BLOCK_LEN - ROOT_INDEX) / INDEX_ENTRY - 1;
const NODE_ROOM: usize = (BLOCK_LEN - NODE_INDEX) / INDEX_ENTRY - 1;
/// The hash: half of MD4 over signed characters, as x86 has it.
const HALF_MD4: u8 = 1;

/// The entries of one directory in their order.
pub(super) struct HashTree {
    /// Hash, second half of the hash, entry.
    entries: Vec<(u32, u32, EntryId)>,
    /// Where in `entries` each block begins.
    leaves: Vec<usize>,
}

impl HashTree {
    pub(super) fn of(tree: &Tree, directory: NodeId, hash_seed: [u32; 4]) -> Self {
        let hashed = tree.children(directory).map(|entry| {
            let (hash, minor) = half_md4(&hash_seed, Signedness::Signed, tree.name(entry));
            (hash, minor, entry)
        });
        let mut entries: Vec<_> = hashed.collect();
        entries.sort_unstable();
        let mut leaves = Vec::new();
        let mut room = 0;
        for (place, &(_, _, entry)) in entries.iter().enumerate() {
            let length = entry_len(tree.name(entry).len());
            if length > room {
                leaves.push(place);
                room = EntryBlock::ROOM;
            }
            room -= length;
        }
        Self { entries, leaves }
    }

    /// All blocks; `None` when two levels of index are not enough.
    pub(super) fn blocks(&self) -> Option<u32> {
        let nodes = self.nodes();
        let blocks = 1 + self.leaves.len() + nodes;
        u32::try_from(blocks).ok().filter(|_| nodes <= ROOT_ROOM)
    }

    /// Blocks of the second level.
    fn nodes(&self) -> usize {
        if self.leaves.len() <= ROOT_ROOM { 0 } else { self.leaves.len().div_ceil(NODE_ROOM) }
    }

    pub(super) fn render<E>(
        &self,
        plan: &Plan<'_>,
        own: u32,
        parent: u32,
        mut put: impl FnMut(&[u8; BLOCK_LEN]) -> Result<(), E>,
    ) -> Result<(), E> {
        let seed = plan.inode_seed(own);
        let leaves = self.leaf_index();
        let nodes: Vec<&[(u32, u32)]> =
            if self.nodes() == 0 { Vec::new() } else { leaves.chunks(NODE_ROOM).collect() };
        let first_node = 1 + leaves.len();
        let second: Vec<(u32, u32)> = nodes
            .iter()
            .enumerate()
            .map(|(place, node)| (node[0].0, number(first_node + place)))
            .collect();
        let top = if nodes.is_empty() { &leaves } else { &second };
        put(&render_root(own, parent, top, !nodes.is_empty(), seed))?;
        for (place, &start) in self.leaves.iter().enumerate() {
            let end = self.leaves.get(place + 1).copied().unwrap_or(self.entries.len());
            let mut block = EntryBlock::new();
            for &(_, _, entry) in &self.entries[start..end] {
                push_entry(&mut block, plan, entry);
            }
            put(&block.finish(seed))?;
        }
        for node in nodes {
            put(&render_node(node, seed))?;
        }
        Ok(())
    }

    /// The first hash and the number of each block of entries. Where a hash goes on from the block
    /// before, its lowest bit, which hashes do not use, is set.
    fn leaf_index(&self) -> Vec<(u32, u32)> {
        let hash = |place: usize| self.entries[place].0;
        let continues = |start: usize| start > 0 && hash(start - 1) == hash(start);
        let entry = |(place, &start): (usize, &usize)| {
            (hash(start) | u32::from(continues(start)), number(place + 1))
        };
        self.leaves.iter().enumerate().map(entry).collect()
    }
}

fn render_root(
    own: u32,
    parent: u32,
    index: &[(u32, u32)],
    two_levels: bool,
    seed: u32,
) -> [u8; BLOCK_LEN] {
    let mut block = [0; BLOCK_LEN];
    put_u32(&mut block, 0, own);
    put_u16(&mut block, 4, 12);
    block[6..9].copy_from_slice(&[1, file_type::DIR, b'.']);
    put_u32(&mut block, 12, parent);
    // `..` reaches to the end, so that who does not know the index sees an empty directory.
    put_u16(&mut block, 16, 4096 - 12);
    block[18..22].copy_from_slice(&[2, file_type::DIR, b'.', b'.']);
    block[0x1c] = HALF_MD4;
    // Bytes of this description.
    block[0x1d] = 8;
    block[0x1e] = u8::from(two_levels);
    fill_index(&mut block, ROOT_INDEX, ROOT_ROOM, index, seed);
    block
}

fn render_node(index: &[(u32, u32)], seed: u32) -> [u8; BLOCK_LEN] {
    let mut block = [0; BLOCK_LEN];
    put_u16(&mut block, 4, 4096);
    fill_index(&mut block, NODE_INDEX, NODE_ROOM, index, seed);
    block
}

/// Room and count take the place of the first entry's hash, which is the lowest there is.
fn fill_index(
    block: &mut [u8; BLOCK_LEN],
    at: usize,
    room: usize,
    index: &[(u32, u32)],
    seed: u32,
) {
    for (place, &(hash, number)) in index.iter().enumerate() {
        put_u32(block, at + INDEX_ENTRY * place, hash);
        put_u32(block, at + INDEX_ENTRY * place + 4, number);
    }
    let short = |value: usize| u16::try_from(value).unwrap_or(0);
    put_u16(block, at, short(room));
    put_u16(block, at + 2, short(index.len()));
    let checksum = csum::dx_block(seed, block, at, short(index.len()), short(room));
    put_u32(block, at + INDEX_ENTRY * room + 4, checksum);
}

fn number(block: usize) -> u32 {
    u32::try_from(block).unwrap_or(u32::MAX)
}
