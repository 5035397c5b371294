//! Digests of files that every boot asks for: one that is as it was is not read again.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use banger_rootfs::digest::sha256;

use crate::file_stamp::FileStamp;

/// What is known.
#[derive(Debug, Default)]
pub struct KnownDigests {
    files: HashMap<PathBuf, (FileStamp, [u8; 32])>,
}

impl KnownDigests {
    /// SHA-256 of what is in the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn digest(&mut self, path: &Path) -> io::Result<[u8; 32]> {
        self.digest_at(path, SystemTime::now())
    }

    fn digest_at(&mut self, path: &Path, now: SystemTime) -> io::Result<[u8; 32]> {
        let before = FileStamp::observe(path)?;
        if let Some((stamp, digest)) = self.files.get(path)
            && *stamp == before
        {
            return Ok(*digest);
        }
        let digest = sha256(&mut fs_err::File::open(path)?)?;
        if before.is_settled(now) && FileStamp::observe(path)? == before {
            self.files.insert(path.to_owned(), (before, digest));
        } else {
            self.files.remove(path);
        }
        Ok(digest)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_file_is_read_again_when_it_may_have_changed() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("agent");
        let digest = |text: &str| sha256(&mut text.as_bytes()).unwrap();
        let mut known = KnownDigests::default();
        fs_err::write(&path, "one").unwrap();
        let now = SystemTime::now();
        assert_eq!(known.digest_at(&path, now).unwrap(), digest("one"));
        assert!(known.files.is_empty(), "its next change may have the same time");

        let later = now + Duration::from_secs(10);
        assert_eq!(known.digest_at(&path, later).unwrap(), digest("one"));
        known.files.get_mut(&path).unwrap().1 = digest("it is not read");
        assert_eq!(known.digest_at(&path, later).unwrap(), digest("it is not read"));

        // Replaced by one of the same size and time of modification.
        let other = place.path().join("other");
        fs_err::write(&other, "two").unwrap();
        let modified = fs_err::metadata(&path).unwrap().modified().unwrap();
        std::fs::File::options().write(true).open(&other).unwrap().set_modified(modified).unwrap();
        fs_err::rename(&other, &path).unwrap();
        assert_eq!(known.digest_at(&path, later).unwrap(), digest("two"));

        fs_err::remove_file(&path).unwrap();
        assert!(known.digest_at(&path, later).is_err());
    }
}
