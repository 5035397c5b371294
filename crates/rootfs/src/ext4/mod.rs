//! Writing ext4. The only module that knows the library behind it.
//!
//! ```text
//! Tree ──plan_tree──▶ Plan ──start──▶ Writer ──fill, in the order of the sources──▶ finish
//!     sizes are fixed here    all metadata is written here
//!
//! │ superblock │ group      │ bitmaps, inode │ directories, extent trees, │ contents │ free up to │
//! │            │ descriptors│ tables         │ long links, attributes     │          │ a whole MiB│
//! ```
//!
//! An image is only ever read, so it has no journal, no copies of the superblock and no free
//! inodes, and everything stands in the order in which it is written; each file's contents are one
//! run of blocks. The same tree and identity give the same bytes. `mkext4` knows the structures
//! and their checksums; it can lay out a file system as well, and does for disks that are written
//! to, but keeps a kilobyte of memory for every file and takes no names that are not UTF-8
//! ([decision](../../../../docs/adr/0004-own-ext4-layout.md)).
//!
//! What is written is checked by `e2fsck -fn` in the tests, and by reading it back.
//!
//! Not responsible for where files come from ([`crate::tree`]).

mod acl;
mod blank;
mod directory;
mod extents;
mod geometry;
mod htree;
mod inode;
mod plan;
mod sink;
mod superblock;
mod writer;
mod xattr;

use banger_proto::ByteSize;

pub(crate) use blank::write_blank;
pub use plan::{Plan, plan_tree};
pub use writer::Writer;
pub use xattr::{XattrError, check_xattrs};

/// Smallest file system that is written to, in bytes: what the journal and the tables need.
pub const SMALLEST: u64 = 16 << 20;
/// Sizes are multiples of a block, in bytes.
pub const BLOCK: u64 = 4096;
/// The same as a length.
const BLOCK_LEN: usize = 4096;
/// The directory that `e2fsck` puts what it finds into, and misses where it is not.
const LOST_AND_FOUND: &[u8] = b"lost+found";
/// Names of a file at most (`EXT4_LINK_MAX`).
const MAX_LINKS: u32 = 65_000;
/// Largest major and minor number that an inode holds.
const MAX_DEVICE: (u32, u32) = (0xfff, 0xf_ffff);
/// Longest target of a symbolic link, in bytes: a block with the NUL that ends it.
const MAX_TARGET: usize = BLOCK_LEN - 1;

/// Why a file system cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Ext4Error {
    /// Something ext4 cannot hold.
    #[error("`{path}` {why}")]
    Entry {
        /// The entry.
        path: String,
        /// The layer that made it what it is, from 1.
        layer: u16,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A size that cannot be.
    #[error("a file system of {} is {why}", ByteSize::from_bytes(*.size).human())]
    Size {
        /// The size in bytes.
        size: u64,
        /// `too small`, or what else is wrong.
        why: &'static str,
    },
    /// Nobody declared the contents that are given.
    #[error("contents number {0} belong to no file of the image")]
    Stray(u32),
    /// Contents that were declared did not come.
    #[error("contents number {0} are missing")]
    Missing(u32),
    /// The image cannot be written.
    #[error("cannot write the file system")]
    Write(#[source] std::io::Error),
    /// Contents cannot be read.
    #[error("cannot read the contents of a file")]
    Contents(#[source] std::io::Error),
    /// The library refused.
    #[error("cannot lay out the file system")]
    Library(#[source] mkext4::Error),
}

/// What makes two file systems differ besides their files.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its UUID; checksums and directory hashes start from it.
    pub uuid: [u8; 16],
    /// Its label, 16 bytes at most.
    pub label: String,
    /// When it was made, seconds since 1970, of 32 bits.
    pub epoch: u32,
}

impl Identity {
    /// An identity out of what the image is made of, so that the same input has the same.
    #[must_use]
    pub fn from_digest(digest: &[u8; 32], label: &str, epoch: u32) -> Self {
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&digest[..16]);
        // Version 8 (made by own rules) and the variant of RFC 9562, for who looks.
        uuid[6] = (uuid[6] & 0x0f) | 0x80;
        uuid[8] = (uuid[8] & 0x3f) | 0x80;
        Self { uuid, label: label.to_owned(), epoch }
    }
}

/// What a device or a link says that ext4 cannot hold; `None` when it can.
#[must_use]
pub fn refuse_object(object: &crate::tree::Object) -> Option<&'static str> {
    use crate::tree::Object;
    match object {
        Object::Symlink { target } if target.len() > MAX_TARGET => {
            Some("link target of at most 4095 bytes")
        }
        Object::Symlink { target } if target.contains(&0) => Some("link target without a NUL"),
        Object::CharDevice { major, minor } | Object::BlockDevice { major, minor }
            if *major > MAX_DEVICE.0 || *minor > MAX_DEVICE.1 =>
        {
            Some("device number")
        }
        _ => None,
    }
}

/// Blocks that `bytes` take.
fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK)
}

fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
