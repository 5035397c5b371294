//! Whether a file is still as it was, so that what is known of it still holds.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a file must have been as it is for its times to tell of the next change: those of file systems
/// are coarse (2 s at most), so a change right after the reading could have the time of the one before.
const SETTLED: Duration = Duration::from_secs(3);

/// What changes when a file does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Nobody can set this one back.
    changed: (i64, i64),
}

impl FileStamp {
    /// That of the file at `path`, wherever links lead.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn observe(path: &Path) -> io::Result<Self> {
        let seen = fs_err::metadata(path)?;
        Ok(Self {
            device: seen.dev(),
            inode: seen.ino(),
            size: seen.size(),
            modified: (seen.mtime(), seen.mtime_nsec()),
            changed: (seen.ctime(), seen.ctime_nsec()),
        })
    }

    /// Whether the file, if it changes after `now`, will have another stamp.
    pub(crate) fn is_settled(&self, now: SystemTime) -> bool {
        let changed = u64::try_from(self.changed.0).unwrap_or_default();
        now.duration_since(UNIX_EPOCH + Duration::from_secs(changed)).is_ok_and(|age| age > SETTLED)
    }
}
