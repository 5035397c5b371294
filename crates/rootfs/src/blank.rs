//! An empty ext4 that a VM writes to.

use std::fs::File;

use crate::ext4::{self, Ext4Error, Identity};

/// Writes an empty ext4 of `size` bytes to `file`, which must be empty. The file is sparse: well
/// under 2 MB are really there. Nothing is synced to the disk.
///
/// Inodes are one to 16 KiB, and the journal is as large, as `mke2fs` has them. There is no
/// `resize_inode`: growing it later goes through meta block groups, which the kernel turns on.
///
/// # Errors
/// When the size cannot be, or writing fails.
pub fn write_blank(file: &File, size: u64, identity: &Identity) -> Result<(), Ext4Error> {
    ext4::write_blank(file, size, identity)
}
