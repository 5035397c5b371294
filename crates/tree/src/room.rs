//! Room on a file system while something is written to it whose end is somebody else's word: a
//! part is left to others, so that an endless file of a guest does not stop the host.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::fstatvfs;

use super::beneath::{BLOCK, fill};

/// Bytes between two looks at the file system.
const STEP: u64 = 16 << 20;
/// What an entry counts, in bytes: a block, which most file systems give to a name at the latest
/// when it has contents.
const ENTRY: u64 = 4096;
/// Most that is left to others, in bytes: enough for logs, editors and the VMs' own disks to go on
/// until somebody looks.
const MOST_KEPT: u64 = 1 << 30;
/// The part of the file system that is left to others where that is less.
const PART_KEPT: u64 = 20;

/// How far a file system may be filled. Its clones count together.
#[derive(Debug, Clone)]
pub struct Room {
    /// Bytes that are left, whatever the size of the file system is; none for no limit at all.
    most: Option<u64>,
    part: u64,
    since: Arc<AtomicU64>,
}

impl Room {
    /// All of it.
    #[must_use]
    pub fn all() -> Self {
        Self { most: None, part: 1, since: Arc::default() }
    }

    /// All but a twentieth, and of a large file system all but 1 GiB.
    #[must_use]
    pub fn sparing() -> Self {
        Self { most: Some(MOST_KEPT), part: PART_KEPT, since: Arc::default() }
    }

    /// None of it, but for what is not worth a look.
    #[must_use]
    pub fn none() -> Self {
        Self { most: Some(u64::MAX), part: 1, since: Arc::default() }
    }

    /// Asks for the room for `bytes` more on the file system that `place` is on.
    ///
    /// # Errors
    /// `StorageFull` when it is to be left to others.
    pub fn take(&self, place: impl AsFd, bytes: u64) -> io::Result<()> {
        let Some(most) = self.most else { return Ok(()) };
        if self.since.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) < STEP {
            return Ok(());
        }
        self.since.store(0, Ordering::Relaxed);
        let stat = fstatvfs(place)?;
        let size = stat.f_blocks.saturating_mul(stat.f_frsize);
        let kept = most.min(size / self.part);
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        // Some file systems do not count names, and say 0 for all of them.
        let few_names = stat.f_files / PART_KEPT > stat.f_favail;
        if free >= kept && !few_names {
            return Ok(());
        }
        let what = if free < kept { "room" } else { "names" };
        let text = format!("the file system is almost full: the {what} left are kept for others");
        Err(io::Error::new(io::ErrorKind::StorageFull, text))
    }

    /// Writes all that `contents` give to `file`, as long as there is room; how much that was.
    ///
    /// # Errors
    /// As [`take`](Self::take), and when it cannot be read or written.
    pub fn copy(&self, contents: &mut impl Read, mut file: &File) -> io::Result<u64> {
        let mut block = vec![0; BLOCK];
        let mut length = 0;
        loop {
            let filled = fill(contents, &mut block)?;
            if filled == 0 {
                return Ok(length);
            }
            self.take(file, filled as u64)?;
            file.write_all(&block[..filled])?;
            length += filled as u64;
        }
    }

    /// Asks for the room for one more file, directory or link.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn take_entry(&self, place: impl AsFd) -> io::Result<()> {
        self.take(place, ENTRY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_left_to_others() {
        let place = tempfile::tempfile().unwrap();
        for _ in 0..3 {
            Room::all().take(&place, u64::MAX).unwrap();
        }
        let room = Room::none();
        room.take(&place, STEP - 1).unwrap();
        let error = room.clone().take(&place, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        // Each step is looked at.
        room.take(&place, STEP - 1).unwrap();
        room.take_entry(&place).unwrap_err();
    }
}
