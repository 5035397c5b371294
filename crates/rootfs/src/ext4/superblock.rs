//! The superblock, the group descriptors and the bitmaps.

use mkext4::csum;
use mkext4::spec::{GroupDesc, Superblock, bg_flags, compat, incompat, ro_compat};

use super::BLOCK_LEN;
use super::geometry::{GROUP_BLOCKS, Geometry, RESERVED_INODES};
use super::plan::Plan;
use crate::tree::Kind;

/// `sparse_super2`: copies of the superblock are only in the two groups that it names, here none.
const SPARSE_SUPER2: u32 = 0x200;
/// Where the superblock is in its block.
const SUPERBLOCK: usize = 1024;
/// Bytes of a group descriptor.
const DESCRIPTOR: usize = 32;

/// The first block.
pub(super) fn render_superblock(plan: &Plan<'_>) -> [u8; BLOCK_LEN] {
    let Plan { geometry, identity, .. } = plan;
    let inodes = geometry.groups * geometry.inodes_per_group;
    let mut volume_name = [0; 16];
    for (to, from) in volume_name.iter_mut().zip(identity.label.bytes()) {
        *to = from;
    }
    let mut superblock = Superblock {
        inodes_count: inodes,
        blocks_count: u64::from(geometry.blocks),
        r_blocks_count: 0,
        free_blocks_count: u64::from(geometry.blocks - geometry.free),
        free_inodes_count: inodes - plan.used_inodes(),
        first_data_block: 0,
        log_block_size: 2,
        log_cluster_size: 2,
        blocks_per_group: GROUP_BLOCKS,
        clusters_per_group: GROUP_BLOCKS,
        inodes_per_group: geometry.inodes_per_group,
        mtime: 0,
        wtime: identity.epoch,
        mnt_count: 0,
        // Never to be checked for having been mounted often.
        max_mnt_count: 0xffff,
        // Clean; go on after an error.
        state: 1,
        errors: 1,
        minor_rev_level: 0,
        lastcheck: identity.epoch,
        checkinterval: 0,
        creator_os: 0,
        rev_level: 1,
        def_resuid: 0,
        def_resgid: 0,
        first_ino: RESERVED_INODES + 1,
        inode_size: 256,
        block_group_nr: 0,
        feature_compat: compat::EXT_ATTR | compat::DIR_INDEX | SPARSE_SUPER2,
        feature_incompat: incompat::FILETYPE | incompat::EXTENTS | incompat::FLEX_BG,
        feature_ro_compat: ro_compat::WRITER,
        uuid: identity.uuid,
        volume_name,
        last_mounted: [0; 64],
        reserved_gdt_blocks: 0,
        journal_uuid: [0; 16],
        journal_inum: 0,
        journal_dev: 0,
        last_orphan: 0,
        hash_seed: plan.hash_seed,
        def_hash_version: 1,
        jnl_backup_type: 0,
        desc_size: 0,
        // user_xattr, acl
        default_mount_opts: 0x0c,
        first_meta_bg: 0,
        mkfs_time: identity.epoch,
        jnl_blocks: [0; 17],
        min_extra_isize: 32,
        want_extra_isize: 32,
        // Names are hashed as signed characters.
        flags: 1,
        log_groups_per_flex: 4,
        checksum_type: 1,
        kbytes_written: 0,
        overhead_clusters: geometry.metadata,
        lpf_ino: 0,
        checksum_seed: 0,
        checksum: 0,
    };
    let mut block = [0; BLOCK_LEN];
    let bytes = &mut block[SUPERBLOCK..SUPERBLOCK + Superblock::LEN];
    superblock.encode(bytes);
    superblock.checksum = csum::superblock(bytes);
    superblock.encode(bytes);
    block
}

/// The group descriptors, whole blocks of them.
pub(super) fn render_descriptors(plan: &Plan<'_>) -> Vec<u8> {
    let Plan { geometry, .. } = plan;
    let mut directories = vec![0; geometry.groups as usize];
    for place in &plan.places {
        if let Kind::Directory(_) = plan.tree.node(place.node).kind {
            let group = (plan.inode_of(place.node) - 1) / geometry.inodes_per_group;
            directories[group as usize] += 1;
        }
    }
    let mut bytes = vec![0; geometry.descriptors as usize * BLOCK_LEN];
    for (group, (out, used_dirs_count)) in
        (0..).zip(bytes.chunks_exact_mut(DESCRIPTOR).zip(directories))
    {
        let blocks = Geometry::used_of(group, GROUP_BLOCKS, geometry.free);
        let inodes = Geometry::used_of(group, geometry.inodes_per_group, plan.used_inodes());
        let inode_bitmap = render_inode_bitmap(plan, group);
        let checksum =
            |bitmap: &[u8]| csum::inode_bitmap(plan.fs_seed, bitmap, geometry.inodes_per_group);
        let unused = inodes == 0;
        let mut descriptor = GroupDesc {
            block_bitmap: u64::from(geometry.block_bitmaps + group),
            inode_bitmap: u64::from(geometry.inode_bitmaps + group),
            inode_table: u64::from(geometry.tables + group * geometry.table),
            free_blocks_count: geometry.group_blocks(group) - blocks,
            free_inodes_count: geometry.inodes_per_group - inodes,
            used_dirs_count,
            flags: bg_flags::INODE_ZEROED | if unused { bg_flags::INODE_UNINIT } else { 0 },
            exclude_bitmap: 0,
            block_bitmap_csum: u32::from(csum::block_bitmap(
                plan.fs_seed,
                &render_block_bitmap(plan, group),
            )),
            inode_bitmap_csum: if unused { 0 } else { u32::from(checksum(&inode_bitmap)) },
            itable_unused: geometry.inodes_per_group - inodes,
            checksum: 0,
        };
        descriptor.encode32(out);
        descriptor.checksum = csum::group_desc(plan.fs_seed, group, out);
        descriptor.encode32(out);
    }
    bytes
}

/// Which blocks of a group are taken: all up to the first that is free, and what is past the end.
pub(super) fn render_block_bitmap(plan: &Plan<'_>, group: u32) -> [u8; BLOCK_LEN] {
    let used = Geometry::used_of(group, GROUP_BLOCKS, plan.geometry.free);
    render_bitmap(used, plan.geometry.group_blocks(group))
}

/// Which inodes of a group are taken. Of a group without any, the bitmap is not looked at.
pub(super) fn render_inode_bitmap(plan: &Plan<'_>, group: u32) -> [u8; BLOCK_LEN] {
    let size = plan.geometry.inodes_per_group;
    match Geometry::used_of(group, size, plan.used_inodes()) {
        0 => [0; BLOCK_LEN],
        used => render_bitmap(used, size),
    }
}

/// Bits up to `used`, and from `end` on.
fn render_bitmap(used: u32, end: u32) -> [u8; BLOCK_LEN] {
    let mut bitmap = [0; BLOCK_LEN];
    for (place, byte) in (0_u32..).zip(&mut bitmap) {
        for bit in 0..8 {
            let number = place * 8 + bit;
            if number < used || number >= end {
                *byte |= 1 << bit;
            }
        }
    }
    bitmap
}
