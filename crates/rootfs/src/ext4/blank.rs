//! An empty file system that is written to, as the library lays it out.

use std::fs::File;

use mkext4::{FsBuilder, Options};

use super::sink::LibrarySink;
use super::{BLOCK, Ext4Error, Identity, SMALLEST};

/// Writes an empty file system of `size` bytes: a journal and inodes as `mke2fs` gives, nothing
/// kept back for root.
///
/// # Errors
/// When `size` is no multiple of [`BLOCK`], below [`SMALLEST`] or beyond 16 TiB, or writing fails.
pub(crate) fn write_blank(file: &File, size: u64, identity: &Identity) -> Result<(), Ext4Error> {
    let why = match size {
        _ if size < SMALLEST => Some("too small"),
        _ if !size.is_multiple_of(BLOCK) => Some("no whole number of 4 KiB blocks"),
        _ if size / BLOCK >= u64::from(u32::MAX) => Some("too large"),
        _ => None,
    };
    if let Some(why) = why {
        return Err(Ext4Error::Size { size, why });
    }
    let mut options = Options::new(size, identity.uuid, i64::from(identity.epoch));
    options.label = Some(identity.label.clone());
    options.reserved_percent = 0;
    let builder = FsBuilder::new(options).map_err(Ext4Error::Library)?;
    let layout = builder.seal().map_err(Ext4Error::Library)?;
    file.set_len(size).map_err(Ext4Error::Write)?;
    let writer = layout.writer(LibrarySink(file)).map_err(Ext4Error::Library)?;
    writer.finish().map(|_| ()).map_err(Ext4Error::Library)
}
