//! The blobs of images, named by what they have in them: `oci/blobs/sha256/HEX` in the cache
//! directory, with `HEX.partial` beside it while it is being received.
//!
//! Any number of daemons may share the directory: who receives a blob locks its partial file, who
//! uses one locks it shared ([`Blob`]), and pruning leaves both alone. What a kill leaves is a
//! partial file, which the next pull goes on with and pruning removes.

mod prune;

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::network::Retry;
use crate::transfer::{
    Partial, Source, TransferError, Wanted, is_at, lock_shared, receive, take_turn,
};
use banger_proto::Digest;

pub use prune::Pruned;

/// Ending of files that are not complete.
const PARTIAL: &str = ".partial";

/// The cache of blobs.
#[derive(Debug, Clone)]
pub struct Blobs {
    dir: PathBuf,
}

/// A complete, verified blob. It stays where it is for as long as this or a clone of it lives.
#[derive(Debug, Clone)]
pub struct Blob {
    digest: Digest,
    path: PathBuf,
    size: u64,
    /// Locked shared.
    _lock: Arc<std::fs::File>,
}

impl Blob {
    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes in it.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Blobs {
    /// The blobs below `cache_dir`, which is made when there is something to keep.
    #[must_use]
    pub fn new(cache_dir: &Path) -> Self {
        Self { dir: cache_dir.join("oci/blobs/sha256") }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.hex())
    }

    fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{}{PARTIAL}", digest.hex()))
    }

    /// The blob of this digest, if it is here.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn find(&self, digest: &Digest) -> io::Result<Option<Blob>> {
        let path = self.path(digest);
        let file = match fs_err::File::open(&path) {
            Ok(file) => file.into_file(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        lock_shared(&file)?;
        // It may have been removed before it was locked.
        if !is_at(&file, &path)? {
            return Ok(None);
        }
        let size = file.metadata()?.len();
        Ok(Some(Blob { digest: *digest, path, size, _lock: Arc::new(file) }))
    }

    /// Removes the blob of this digest, if it is here: for who finds that it was damaged since it
    /// was verified.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn remove(&self, digest: &Digest) -> io::Result<()> {
        match fs_err::remove_file(self.path(digest)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// How many bytes of the blob are here, complete or not.
    pub(crate) fn observe_present(&self, digest: &Digest) -> u64 {
        let size = |path| std::fs::symlink_metadata(path).map(|found| found.len());
        size(self.path(digest)).or_else(|_| size(self.partial_path(digest))).unwrap_or(0)
    }

    /// The blob of this digest and `size` bytes, which is received from `source` if it is not
    /// here. Where somebody else is receiving it, this waits and uses theirs.
    pub(crate) async fn ensure(
        &self,
        digest: Digest,
        size: u64,
        source: &impl Source,
        retry: Retry,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Blob, TransferError> {
        ensure_private_dir(&self.dir)?;
        let (path, partial_path) = (self.path(&digest), self.partial_path(&digest));
        let wanted = Wanted { digest, size: Some(size) };
        loop {
            if let Some(blob) = self.find(&digest)? {
                if blob.size == size {
                    progress(size);
                    return Ok(blob);
                }
                // Content of that digest has one size: either somebody damaged the file, or the
                // manifest lies, which receiving it anew brings to light.
                tracing::warn!(path = %path.display(), "removing a blob of a wrong size");
                self.remove(&digest)?;
            }
            let Some(file) = take_turn(&partial_path).await? else { continue };
            let partial = Partial::load(file, partial_path.clone()).await?;
            // Between the look and the lock somebody may have finished.
            if self.observe_complete(&digest) {
                partial.remove().await?;
                continue;
            }
            receive(source, partial, &path, wanted, retry, progress).await?;
        }
    }

    fn observe_complete(&self, digest: &Digest) -> bool {
        std::fs::symlink_metadata(self.path(digest)).is_ok()
    }
}

/// Makes a directory that only this user may enter, and with the same mode what is missing above
/// it.
fn ensure_private_dir(path: &Path) -> io::Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot make directory `{}`: {error}", path.display()))
    })
}
