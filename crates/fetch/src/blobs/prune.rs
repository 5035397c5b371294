//! Removes the blobs that nobody needs.

use std::collections::BTreeSet;
use std::io;

use super::{Blobs, PARTIAL};
use crate::transfer::{is_at, try_lock_exclusive};
use banger_proto::Digest;

/// What was removed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    /// Files.
    pub count: u64,
    /// Bytes that they had.
    pub bytes: u64,
}

impl Blobs {
    /// Removes all blobs but those of `keep`, complete and partial ones, and leaves alone what
    /// anybody reads or receives right now. Blocks on the disk.
    ///
    /// # Errors
    /// The first failure, after everything that can be removed is.
    pub fn prune(&self, keep: &BTreeSet<Digest>) -> io::Result<Pruned> {
        let entries = match fs_err::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Pruned::default()),
            Err(error) => return Err(error),
        };
        let mut pruned = Pruned::default();
        let mut failure = None;
        for entry in entries {
            let removed = entry.and_then(|entry| remove_unused(&entry, keep));
            match removed {
                Ok(None) => {}
                Ok(Some(bytes)) => {
                    pruned.count += 1;
                    pruned.bytes += bytes;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot remove a blob");
                    failure.get_or_insert(error);
                }
            }
        }
        failure.map_or(Ok(pruned), Err)
    }
}

/// Removes a file of the cache if nobody needs it; says how many bytes it had.
fn remove_unused(entry: &fs_err::DirEntry, keep: &BTreeSet<Digest>) -> io::Result<Option<u64>> {
    let name = entry.file_name();
    let Some(name) = name.to_str() else { return Ok(None) };
    // What has another name is not ours.
    let Ok(digest) = Digest::parse_hex(name.strip_suffix(PARTIAL).unwrap_or(name)) else {
        return Ok(None);
    };
    if keep.contains(&digest) {
        return Ok(None);
    }
    let path = entry.path();
    let file = match fs_err::File::open(&path) {
        Ok(file) => file.into_file(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !try_lock_exclusive(&file)? || !is_at(&file, &path)? {
        return Ok(None);
    }
    let bytes = file.metadata()?.len();
    fs_err::remove_file(&path)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sha256;
    use crate::transfer::take_turn;

    #[tokio::test]
    async fn what_is_kept_read_or_received_stays() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(dir.path());
        assert_eq!(blobs.prune(&BTreeSet::new()).unwrap(), Pruned::default());
        super::super::ensure_private_dir(&blobs.dir).unwrap();
        let put = |content: &str| {
            let digest = sha256(content.as_bytes());
            fs_err::write(blobs.path(&digest), content).unwrap();
            digest
        };
        let (kept, read, unused) = (put("kept"), put("read"), put("unused"));
        let (receiving, left) = (sha256(b"receiving"), sha256(b"left"));
        fs_err::write(blobs.partial_path(&receiving), "recei").unwrap();
        fs_err::write(blobs.partial_path(&left), "le").unwrap();
        fs_err::write(blobs.dir.join("note"), "not ours").unwrap();
        let lease = blobs.find(&read).unwrap().expect("it is there");
        let turn = take_turn(&blobs.partial_path(&receiving)).await.unwrap().expect("free");
        let pruned = blobs.prune(&BTreeSet::from([kept])).unwrap();
        assert_eq!(pruned, Pruned { count: 2, bytes: 8 });
        assert!(blobs.find(&unused).unwrap().is_none());
        drop((lease, turn));
        let pruned = blobs.prune(&BTreeSet::from([kept])).unwrap();
        assert_eq!(pruned, Pruned { count: 2, bytes: 9 });
        assert!(blobs.find(&kept).unwrap().is_some());
        assert!(blobs.dir.join("note").exists());
    }
}
