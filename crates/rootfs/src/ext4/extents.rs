//! Where a file's blocks are: the extent tree of an inode.

use mkext4::csum;
use mkext4::spec::{Extent, ExtentHeader, ExtentIdx};

use super::{BLOCK_LEN, blocks, put_u32};
use crate::tree::Piece;

/// Blocks that one extent reaches over at most.
const MAX_EXTENT: u32 = 32_768;
/// Entries that an inode has room for.
const IN_INODE: usize = 4;
/// Entries that a block has room for, beside the header and the checksum.
const IN_BLOCK: usize = (BLOCK_LEN - ExtentHeader::LEN - 4) / ExtentHeader::ENTRY_LEN;
/// Bytes of an entry, and of the header.
const ENTRY: usize = ExtentHeader::ENTRY_LEN;

/// The root of an extent tree and the blocks below it, in the order in which they are written.
pub(super) struct ExtentTree {
    pub(super) root: [u8; 60],
    pub(super) blocks: Vec<[u8; BLOCK_LEN]>,
}

/// The blocks with contents of a file, as runs.
fn runs(size: u64, pieces: Option<&[Piece]>) -> impl Iterator<Item = Piece> {
    let count = u32::try_from(blocks(size)).unwrap_or(u32::MAX);
    let whole = pieces.is_none().then_some(Piece { first: 0, count });
    whole.into_iter().chain(pieces.unwrap_or_default().iter().copied()).flat_map(|piece| {
        (0..piece.count).step_by(MAX_EXTENT as usize).map(move |from| Piece {
            first: piece.first + from,
            count: MAX_EXTENT.min(piece.count - from),
        })
    })
}

/// Blocks of contents, and blocks that their extent tree needs outside of the inode.
pub(super) fn measure(size: u64, pieces: Option<&[Piece]>) -> (u64, u64) {
    let (mut count, mut contents) = (0, 0);
    for run in runs(size, pieces) {
        count += 1;
        contents += u64::from(run.count);
    }
    let mut tree = 0;
    let mut level: usize = count;
    while level > IN_INODE {
        level = level.div_ceil(IN_BLOCK);
        tree += level as u64;
    }
    (contents, tree)
}

/// The tree of a file whose contents begin at block `contents` and whose tree's blocks at `tree`.
pub(super) fn render(
    size: u64,
    pieces: Option<&[Piece]>,
    contents: u32,
    tree: u32,
    inode_seed: u32,
) -> ExtentTree {
    let mut start = contents;
    // The first block of the file that an entry is about, and the entry.
    let mut level: Vec<(u32, [u8; ENTRY])> = runs(size, pieces)
        .map(|run| {
            let mut entry = [0; ENTRY];
            // 32768 is the largest length of an extent that is written.
            let raw_len = u16::try_from(run.count).unwrap_or(0);
            Extent { logical: run.first, raw_len, start: u64::from(start) }.encode(&mut entry);
            start += run.count;
            (run.first, entry)
        })
        .collect();
    let mut blocks = Vec::new();
    let mut depth = 0;
    while level.len() > IN_INODE {
        level = level
            .chunks(IN_BLOCK)
            .map(|entries| {
                let mut block = [0; BLOCK_LEN];
                fill(&mut block, entries, IN_BLOCK, depth);
                let checksum = csum::extent_block(inode_seed, &block);
                put_u32(&mut block, BLOCK_LEN - 4, checksum);
                let leaf = u64::from(tree) + blocks.len() as u64;
                blocks.push(block);
                let mut entry = [0; ENTRY];
                ExtentIdx { logical: entries[0].0, leaf }.encode(&mut entry);
                (entries[0].0, entry)
            })
            .collect();
        depth += 1;
    }
    let mut root = [0; 60];
    fill(&mut root, &level, IN_INODE, depth);
    ExtentTree { root, blocks }
}

/// The tree of `count` blocks one after the other, which is all that directories need: they stay
/// far below four extents.
pub(super) fn render_run(first: u32, count: u32) -> [u8; 60] {
    render(u64::from(count) * super::BLOCK, None, first, 0, 0).root
}

fn fill(node: &mut [u8], entries: &[(u32, [u8; ENTRY])], room: usize, depth: u16) {
    let number = |count: usize| u16::try_from(count).unwrap_or(0);
    ExtentHeader { entries: number(entries.len()), max: number(room), depth, generation: 0 }
        .encode(node);
    for (place, (_, entry)) in entries.iter().enumerate() {
        let at = ExtentHeader::LEN + place * ENTRY;
        node[at..at + ENTRY].copy_from_slice(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_grow_as_measured() {
        let pieces = |count: u32| {
            (0..count).map(|place| Piece { first: place * 2, count: 1 }).collect::<Vec<_>>()
        };
        for (count, tree) in [(0, 0), (4, 0), (5, 1), (340, 1), (341, 2), (1360, 4), (1361, 6)] {
            let pieces = pieces(count);
            assert_eq!(measure(1 << 40, Some(&pieces)), (u64::from(count), tree), "{count}");
            let rendered = render(1 << 40, Some(&pieces), 100, 50, 7);
            assert_eq!(rendered.blocks.len() as u64, tree, "{count}");
        }
        // 128 MiB an extent: five do not fit into the inode.
        assert_eq!(measure(512 << 20, None), (131_072, 0));
        assert_eq!(measure((512 << 20) + 1, None), (131_073, 1));
        assert_eq!(measure(0, None), (0, 0));
    }
}
