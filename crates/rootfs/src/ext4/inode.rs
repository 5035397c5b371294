//! The 256 bytes of an inode.

use mkext4::csum;
use mkext4::spec::{Inode, iflags};

use super::geometry::RESERVED_INODES;
use super::plan::{Place, Plan};
use super::{BLOCK, MAX_LINKS, directory, extents, put_u32, xattr};
use crate::tree::Kind;

/// Bytes of an inode.
pub(super) const INODE: usize = 256;
/// Bytes of fields that old inodes do not have.
const EXTRA: u16 = 32;
/// Bytes of a link's target that stand in the inode.
const MAX_SHORT: usize = 59;
/// Inodes count in units of 512 bytes.
const UNITS: u64 = BLOCK / 512;

/// Whether a link's target needs no block.
pub(super) fn is_short(target: &[u8]) -> bool {
    target.len() <= MAX_SHORT
}

/// One of the first inodes, which ext4 keeps for itself: nothing but its checksum.
pub(super) fn render_reserved(plan: &Plan<'_>, number: u32) -> [u8; INODE] {
    debug_assert!(number <= RESERVED_INODES);
    seal(plan, number, &mut Inode::default())
}

/// The inode of a file of the image.
pub(super) fn render(plan: &Plan<'_>, place: Place) -> [u8; INODE] {
    let number = plan.inode_of(place.node);
    let node = plan.tree.node(place.node);
    let links = plan.links[place.node as usize];
    let (time, extra_time) = Inode::encode_timestamp(node.mtime, node.mtime_nanoseconds);
    let mut inode = Inode {
        uid: node.uid,
        gid: node.gid,
        atime: time,
        ctime: time,
        mtime: time,
        crtime: time,
        atime_extra: extra_time,
        ctime_extra: extra_time,
        mtime_extra: extra_time,
        crtime_extra: extra_time,
        extra_isize: EXTRA,
        // A directory that has more subdirectories than can be counted has one link.
        links_count: if links > MAX_LINKS { 1 } else { u16::try_from(links).unwrap_or(1) },
        ..Inode::default()
    };
    let mut metadata = plan.geometry.metadata + place.metadata;
    let mut blocks = 0;
    let attributes = plan.tree.xattrs(place.node);
    if let Some(split) = (!attributes.is_empty()).then(|| xattr::split(attributes).ok()).flatten() {
        inode.ibody = split.render_area();
        if split.needs_block() {
            inode.file_acl = u64::from(metadata);
            metadata += 1;
            blocks += 1;
        }
    }
    let kind = match node.kind {
        Kind::Directory(_) => {
            inode.flags = iflags::EXTENTS;
            if directory::is_hashed(place.contents) {
                inode.flags |= iflags::INDEX;
            }
            inode.size = u64::from(place.contents) * BLOCK;
            inode.block = extents::render_run(metadata, place.contents);
            blocks += u64::from(place.contents);
            0o04
        }
        Kind::File { size, pieces, .. } => {
            let pieces = plan.tree.pieces(pieces);
            let contents = plan.geometry.contents + place.contents;
            let seed = plan.inode_seed(number);
            let (used, tree) = extents::measure(size, pieces);
            inode.flags = iflags::EXTENTS;
            inode.size = size;
            inode.block = extents::render(size, pieces, contents, metadata, seed).root;
            blocks += used + tree;
            0o10
        }
        Kind::Symlink(target) => {
            let target = plan.tree.text(target);
            inode.size = target.len() as u64;
            if is_short(target) {
                inode.block[..target.len()].copy_from_slice(target);
            } else {
                inode.flags = iflags::EXTENTS;
                inode.block = extents::render_run(metadata, 1);
                blocks += 1;
            }
            0o12
        }
        Kind::CharDevice { major, minor } => {
            inode.block = render_device(major, minor);
            0o02
        }
        Kind::BlockDevice { major, minor } => {
            inode.block = render_device(major, minor);
            0o06
        }
        Kind::Fifo => 0o01,
    };
    inode.mode = kind << 12 | node.mode;
    inode.blocks = blocks * UNITS;
    seal(plan, number, &mut inode)
}

/// The old form for small numbers, else the new one (`fs/ext4/ext4.h`, `include/linux/kdev_t.h`).
fn render_device(major: u32, minor: u32) -> [u8; 60] {
    let mut block = [0; 60];
    if major < 256 && minor < 256 {
        put_u32(&mut block, 0, major << 8 | minor);
    } else {
        put_u32(&mut block, 4, minor & 0xff | major << 8 | (minor & !0xff) << 12);
    }
    block
}

fn seal(plan: &Plan<'_>, number: u32, inode: &mut Inode) -> [u8; INODE] {
    let mut bytes = [0; INODE];
    inode.encode(&mut bytes);
    inode.checksum = csum::inode(plan.fs_seed, number, 0, &bytes);
    inode.encode(&mut bytes);
    bytes
}
