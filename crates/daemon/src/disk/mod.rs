//! A VM's writable disk: made, grown, measured, removed; and whether there is room.
//!
//! A disk is a sparse file with an empty ext4 of its full size: it takes what the VM writes,
//! nothing before. Not responsible for where disks are or who uses them.

mod copy;
mod space;

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use banger_proto::{ByteSize, Code, Problem};
use banger_rootfs::blank::write_blank;
use banger_rootfs::ext4::{Ext4Error, Identity};

pub(crate) use copy::{copy, copy_data, copy_file, copy_pieces, copy_unsynced, dig_holes};
pub use space::{NoSpace, check_space};

/// Label of writable disks: what they are to a VM.
const LABEL: &str = "writable";
/// Bytes in a block of `stat`'s count (stat(2)).
const STAT_BLOCK: u64 = 512;
/// Room there has to be for a new disk. It may grow to its full size one day; a VM that cannot
/// even write this much would fail in its first minute.
const ROOM: ByteSize = ByteSize::from_mib(256);

/// Why a disk cannot be made, measured or removed.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// There is no room for it.
    #[error("cannot make disk `{path}`")]
    Space {
        /// The disk.
        path: PathBuf,
        /// What is needed and what there is.
        #[source]
        source: NoSpace,
    },
    /// The file system cannot be written.
    #[error("cannot make disk `{path}`")]
    Ext4 {
        /// The disk.
        path: PathBuf,
        /// Why.
        #[source]
        source: Ext4Error,
    },
    /// No random numbers for its identity.
    #[error("cannot make disk `{path}`")]
    Random {
        /// The disk.
        path: PathBuf,
        /// Why.
        #[source]
        source: getrandom::Error,
    },
    /// A file operation failed; the text says which.
    #[error(transparent)]
    File(#[from] io::Error),
}

impl From<DiskError> for Problem {
    fn from(error: DiskError) -> Self {
        let problem = Self::from_error(Code::OperationFailed, &error);
        match error {
            DiskError::Space { source, .. } => problem.hints(source.hints()),
            _ => problem,
        }
    }
}

/// Makes the disk `path` of `size`, a whole number of 4 KiB blocks, with mode 0600. When this
/// returns it is on the disk to stay; when it fails nothing is left.
///
/// # Errors
/// When there is something at `path`, no room, or the size cannot be.
pub fn create_writable(path: &Path, size: ByteSize) -> Result<(), DiskError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let owned = || path.to_owned();
    check_space(parent, ROOM)?.map_err(|source| DiskError::Space { path: owned(), source })?;
    let mut uuid = [0; 16];
    getrandom::fill(&mut uuid).map_err(|source| DiskError::Random { path: owned(), source })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let identity =
        Identity { uuid, label: LABEL.to_owned(), epoch: u32::try_from(now).unwrap_or(u32::MAX) };

    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600);
    let file = fs_err::OpenOptions::from_options(options).open(path)?;
    let written = write_blank(file.file(), size.bytes(), &identity)
        .map_err(|source| DiskError::Ext4 { path: owned(), source })
        .and_then(|()| Ok(file.sync_all()?))
        .and_then(|()| Ok(fs_err::File::open(parent)?.sync_all()?));
    if written.is_err()
        && let Err(error) = remove_disk(path)
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove a disk that is half made");
    }
    written
}

/// Makes the disk at least as large as `size`. It stays sparse; the file system on it is grown by
/// the guest. Returns how large it is, which may be more.
///
/// # Errors
/// When there is none, or the host's file system has no files that large.
pub fn ensure_size(path: &Path, size: ByteSize) -> Result<ByteSize, DiskError> {
    let file = fs_err::OpenOptions::new().write(true).open(path)?;
    let found = ByteSize::from_bytes(file.metadata()?.len());
    // Never shorter: what is past the end of a file that was cut is gone.
    if found >= size {
        return Ok(found);
    }
    file.set_len(size.bytes())?;
    file.sync_all()?;
    Ok(size)
}

/// Bytes the disk takes on the host; zero when there is none.
///
/// # Errors
/// When the file system does not answer.
pub fn observe_used(path: &Path) -> Result<ByteSize, DiskError> {
    match fs_err::metadata(path) {
        Ok(metadata) => Ok(ByteSize::from_bytes(metadata.blocks().saturating_mul(STAT_BLOCK))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ByteSize::default()),
        Err(error) => Err(error.into()),
    }
}

/// Removes the disk; one that is not there is removed already.
///
/// # Errors
/// When the file system refuses.
pub fn remove_disk(path: &Path) -> Result<(), DiskError> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_disk_is_sparse_private_only_made_once_and_only_grows() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("disk.ext4");
        assert_eq!(observe_used(&path).unwrap(), ByteSize::default());
        create_writable(&path, "8G".parse().unwrap()).unwrap();
        let metadata = fs_err::metadata(&path).unwrap();
        assert_eq!(metadata.len(), 8 << 30);
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        let used = observe_used(&path).unwrap();
        assert!(used > ByteSize::default() && used < ByteSize::from_mib(2), "{used}");

        let size = |text: &str| text.parse::<ByteSize>().unwrap();
        for (asked, there) in [("9G", "9G"), ("9G", "9G"), ("8G", "9G")] {
            assert_eq!(ensure_size(&path, size(asked)).unwrap(), size(there));
        }
        assert_eq!(fs_err::metadata(&path).unwrap().len(), 9 << 30);
        assert_eq!(observe_used(&path).unwrap(), used);

        let again = create_writable(&path, "8G".parse().unwrap()).unwrap_err();
        assert!(matches!(again, DiskError::File(_)), "{again}");
        assert!(path.exists(), "a disk that was there stays");
        remove_disk(&path).unwrap();
        remove_disk(&path).unwrap();
    }

    #[test]
    fn what_fails_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("disk.ext4");
        let error = create_writable(&path, ByteSize::from_bytes(4096)).unwrap_err();
        let problem = Problem::from(error);
        assert_eq!(problem.causes, ["a file system of 4 KiB is too small"]);
        assert!(!path.exists());
    }
}
