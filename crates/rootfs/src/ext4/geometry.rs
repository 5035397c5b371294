//! Where the parts of an image's file system are. Pure.

use super::{BLOCK, Ext4Error};

/// Blocks of a group: as many as a block of bitmap has bits.
pub(super) const GROUP_BLOCKS: u32 = 32_768;
/// Most inodes of a group, for the same reason.
const MAX_GROUP_INODES: u64 = 32_768;
/// Inodes in a block of a table.
pub(super) const BLOCK_INODES: u32 = 16;
/// Group descriptors in a block.
const BLOCK_DESCRIPTORS: u64 = 128;
/// Inodes that ext4 keeps for itself; the root is one of them.
pub(super) const RESERVED_INODES: u32 = 10;
/// Images are whole multiples of this many blocks: 1 MiB.
const ROUND: u64 = (1 << 20) / BLOCK;

/// Sizes in blocks, places as block numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    /// Of the whole image.
    pub(super) blocks: u32,
    pub(super) groups: u32,
    pub(super) inodes_per_group: u32,
    /// Group descriptors.
    pub(super) descriptors: u32,
    /// First of the bitmaps of blocks; there is one for each group.
    pub(super) block_bitmaps: u32,
    pub(super) inode_bitmaps: u32,
    /// First of the inode tables.
    pub(super) tables: u32,
    /// Of one inode table.
    pub(super) table: u32,
    /// First of what is neither contents nor in a fixed place.
    pub(super) metadata: u32,
    /// First of the contents.
    pub(super) contents: u32,
    /// First of those that nothing is in.
    pub(super) free: u32,
}

/// Finds the smallest geometry for `inodes` (those that ext4 keeps included) and so many blocks of
/// metadata and contents.
pub(super) fn plan_geometry(
    inodes: u32,
    metadata: u64,
    contents: u64,
) -> Result<Geometry, Ext4Error> {
    let inodes = u64::from(inodes);
    let mut groups = inodes.div_ceil(MAX_GROUP_INODES).max(1);
    // More groups need more descriptors and bitmaps, which may need another group.
    loop {
        let inodes_per_group = inodes.div_ceil(groups).next_multiple_of(u64::from(BLOCK_INODES));
        let table = inodes_per_group / u64::from(BLOCK_INODES);
        let descriptors = groups.div_ceil(BLOCK_DESCRIPTORS);
        let fixed = 1 + descriptors + groups * (2 + table);
        let used = fixed + metadata + contents;
        // The groups that the inodes need have to be there, if only as holes.
        let least = (groups - 1) * u64::from(GROUP_BLOCKS) + ROUND;
        let total = used.max(least).next_multiple_of(ROUND);
        let needed = total.div_ceil(u64::from(GROUP_BLOCKS));
        if needed > groups {
            groups = needed;
            continue;
        }
        let number = |blocks: u64| {
            let size = total.saturating_mul(BLOCK);
            u32::try_from(blocks).map_err(|_| Ext4Error::Size { size, why: "too large" })
        };
        return Ok(Geometry {
            blocks: number(total)?,
            groups: number(groups)?,
            inodes_per_group: number(inodes_per_group)?,
            descriptors: number(descriptors)?,
            block_bitmaps: number(1 + descriptors)?,
            inode_bitmaps: number(1 + descriptors + groups)?,
            tables: number(1 + descriptors + 2 * groups)?,
            table: number(table)?,
            metadata: number(fixed)?,
            contents: number(fixed + metadata)?,
            free: number(used)?,
        });
    }
}

impl Geometry {
    /// Blocks of the group `group`; the last may be short.
    pub(super) fn group_blocks(&self, group: u32) -> u32 {
        GROUP_BLOCKS.min(self.blocks - group * GROUP_BLOCKS)
    }

    /// Of the numbers from 0 to `used`, how many fall into the `group`th part of `size`.
    pub(super) fn used_of(group: u32, size: u32, used: u32) -> u32 {
        used.saturating_sub(group.saturating_mul(size)).min(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_a_place_in_order() {
        for (inodes, metadata, contents) in
            [(12, 2, 0), (100_000, 50_000, 300_000), (600_000, 1, 0), (12, 2, 17_000_000)]
        {
            let geometry = plan_geometry(inodes, metadata, contents).unwrap();
            let Geometry { groups, table, inodes_per_group, .. } = geometry;
            assert!(groups * inodes_per_group >= inodes && inodes_per_group <= 32_768);
            assert_eq!(geometry.block_bitmaps, 1 + geometry.descriptors);
            assert_eq!(geometry.metadata, geometry.tables + groups * table);
            assert_eq!(u64::from(geometry.free - geometry.contents), contents);
            assert!(geometry.free <= geometry.blocks);
            assert_eq!(geometry.blocks.div_ceil(GROUP_BLOCKS), groups);
        }
        assert!(plan_geometry(12, 0, 1 << 32).is_err());
    }
}
