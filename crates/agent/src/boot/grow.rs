//! Making the file system of the writable disk as large as the disk.
//!
//! ```text
//!  at boot:   mounted ──────────────────────────▶ smaller than the disk? ─▶ grown
//!  on demand: the kernel has seen the new size ─▶   (the same)
//! ```
//!
//! The kernel grows a mounted ext4 by whole groups of blocks, each of them safe against a crash, so
//! doing it again goes on where it was broken off. Group descriptors that have no room where the
//! others are go into meta block groups, which the kernel turns on by itself: no size is too far
//! from that at which the file system was made.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen,
};

use super::{BootError, disks};
use crate::sys;
use crate::uevent::Uevents;

/// How long the kernel may take to see that a disk has grown; it is told by an interrupt.
const DEADLINE: Duration = Duration::from_secs(30);
/// Unit of the sizes in `/sys/block`, in bytes, whatever the disk's own is.
const SECTOR: u64 = 512;
/// Where the superblock begins on an ext4.
const SUPERBLOCK: u64 = 1024;
/// Bytes of it that are looked at.
const SUPERBLOCK_LEN: usize = 0x158;

/// How large a file system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    blocks: u64,
    /// Bytes in a block.
    block: u64,
}

/// Grows the file system on `device`, which is mounted at `mounted`, if the device is larger.
/// Returns its size in bytes.
pub(super) fn fill_disk(device: &Path, mounted: &Path) -> io::Result<u64> {
    fill(device, File::open(mounted)?)
}

/// The same for the disk with `serial`, which is mounted somewhere out of sight, once it has
/// `bytes`.
pub(super) fn grow_mounted(serial: &str, bytes: u64) -> Result<u64, BootError> {
    let growing = || BootError::preparing(format!("the larger disk `{serial}`"));
    let device = disks::find(serial)?;
    await_capacity(&device, bytes).map_err(growing())?;
    mount_again(&device).and_then(|root| fill(&device, root)).map_err(growing())
}

fn fill(device: &Path, inside: impl AsFd) -> io::Result<u64> {
    let found = load_extent(device)?;
    let blocks = load_capacity(device)? / found.block;
    if blocks <= found.blocks {
        return Ok(found.blocks * found.block);
    }
    sys::resize_ext4(inside, blocks)?;
    // What the kernel made of it: it does not begin a group that is too short.
    let grown = load_extent(device)?;
    Ok(grown.blocks * grown.block)
}

/// Waits until the kernel sees a disk of `bytes`, or more.
fn await_capacity(device: &Path, bytes: u64) -> io::Result<()> {
    let uevents = Uevents::open()?;
    let deadline = Instant::now() + DEADLINE;
    loop {
        let seen = load_capacity(device)?;
        if seen >= bytes {
            return Ok(());
        }
        if !uevents.wait(Some(deadline))? {
            let message = format!("the kernel sees {seen} bytes of {bytes}");
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
    }
}

/// Bytes of the disk, as the kernel sees it.
fn load_capacity(device: &Path) -> io::Result<u64> {
    let name = device.file_name().unwrap_or_default();
    let size = std::fs::read_to_string(Path::new(disks::BLOCK).join(name).join("size"))?;
    let sectors: u64 = size.trim().parse().map_err(io::Error::other)?;
    Ok(sectors.saturating_mul(SECTOR))
}

/// The file system's extent. A mounted one has its superblock in the cache that is read here.
fn load_extent(device: &Path) -> io::Result<Extent> {
    let mut superblock = [0; SUPERBLOCK_LEN];
    File::open(device)?.read_exact_at(&mut superblock, SUPERBLOCK)?;
    parse_extent(&superblock).ok_or_else(|| io::Error::other("there is no ext4 on it"))
}

/// Reads the fields `s_blocks_count`, `s_log_block_size` and `s_magic` (Linux,
/// `Documentation/filesystems/ext4/super.rst`); none when it is no superblock.
fn parse_extent(superblock: &[u8; SUPERBLOCK_LEN]) -> Option<Extent> {
    const MAGIC: [u8; 2] = [0x53, 0xef];
    /// `INCOMPAT_64BIT`: the upper halves of numbers mean something.
    const WIDE: u32 = 0x80;
    let word = |at: usize| {
        let bytes = superblock.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    if superblock.get(0x38..0x3a)? != MAGIC {
        return None;
    }
    let upper = if word(0x60)? & WIDE == 0 { 0 } else { word(0x150)? };
    let blocks = u64::from(upper) << 32 | u64::from(word(0x4)?);
    // Blocks are of 1 to 64 KiB.
    let block = word(0x18).filter(|log| *log <= 6).map(|log| 1024 << log)?;
    Some(Extent { blocks, block })
}

/// Opens the top of the file system on `device` by a mount that nobody sees and that goes with
/// what is returned, so that nothing keeps the file system from a clean end.
fn mount_again(device: &Path) -> io::Result<File> {
    let context = fsopen("ext4", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", device)?;
    fsconfig_create(&context)?;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(&mount, ".", flags, Mode::empty())?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock(words: &[(usize, u32)]) -> [u8; SUPERBLOCK_LEN] {
        let mut bytes = [0; SUPERBLOCK_LEN];
        bytes[0x38..0x3a].copy_from_slice(&[0x53, 0xef]);
        for (at, word) in words {
            bytes[*at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn the_extent_is_in_the_superblock() {
        let extent = |blocks, block| Some(Extent { blocks, block });
        let narrow = superblock(&[(0x4, 262_144), (0x18, 2), (0x150, 1)]);
        assert_eq!(parse_extent(&narrow), extent(262_144, 4096));
        let wide = superblock(&[(0x4, 5), (0x18, 0), (0x60, 0x2c2), (0x150, 1)]);
        assert_eq!(parse_extent(&wide), extent((1 << 32) + 5, 1024));
        assert_eq!(parse_extent(&superblock(&[(0x18, 7)])), None);
        assert_eq!(parse_extent(&[0; SUPERBLOCK_LEN]), None);
    }
}
