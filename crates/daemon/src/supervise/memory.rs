//! A guest's memory that is a file: in memory itself, in no directory, and for as long as its VMM or the
//! supervisor has it open. What is to be saved of it needs no VMM.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use tokio::task::JoinHandle;

use crate::disk;

/// Its file.
#[derive(Debug, Clone)]
pub(super) struct GuestMemory {
    file: Arc<File>,
}

impl GuestMemory {
    /// Memory of this many bytes, empty.
    ///
    /// # Errors
    /// When it cannot be had.
    pub(super) fn make(bytes: u64) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(memfd_create("guest", flags)?);
        file.set_len(bytes)?;
        // Whoever takes the VMM over is not to choose how much is saved. Holes are still made where the guest
        // has no use for its memory.
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(Self { file: Arc::new(file) })
    }

    /// Begins to copy what `saved` has into it, which takes about as long as a VMM takes to come up. It is not
    /// looked through again: [saving](Self::save) has left out what is empty. Nobody may look into it before that
    /// has ended.
    pub(super) fn fill(&self, saved: &Path) -> JoinHandle<io::Result<()>> {
        let (file, saved) = (Arc::clone(&self.file), saved.to_owned());
        tokio::task::spawn_blocking(move || {
            disk::copy_pieces(fs_err::File::open(saved)?.file(), &file)
        })
    }

    /// Writes it to a new file, of which what is empty takes no room. Its guest has to stand still.
    ///
    /// # Errors
    /// When there is something at `path`, or no room.
    pub(super) async fn save(&self, path: &Path) -> io::Result<()> {
        let (file, path) = (Arc::clone(&self.file), path.to_owned());
        let saved = tokio::task::spawn_blocking(move || {
            let mut options = File::options();
            options.write(true).create_new(true).mode(0o600);
            let target = fs_err::OpenOptions::from_options(options).open(path)?;
            target.set_len(file.metadata()?.len())?;
            disk::copy_data(&file, target.file())
        });
        saved.await?
    }
}

impl AsFd for GuestMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[tokio::test]
    async fn what_was_saved_is_there_again() {
        const LENGTH: u64 = 3 << 30;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory");
        let memory = GuestMemory::make(LENGTH).unwrap();
        memory.file.write_all_at(b"something", LENGTH - 9).unwrap();
        for another in [LENGTH / 2, LENGTH * 2] {
            assert!(memory.file.set_len(another).is_err(), "{another}");
        }
        // The guest had this, and has no use for it any more.
        memory.file.write_all_at(&[0; 1 << 20], 1 << 20).unwrap();
        memory.save(&path).await.unwrap();
        assert_eq!(memory.save(&path).await.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!((metadata.len(), metadata.mode() & 0o777), (LENGTH, 0o600));
        let again = GuestMemory::make(LENGTH).unwrap();
        again.fill(&path).await.unwrap().unwrap();
        let mut bytes = [0; 9];
        again.file.read_exact_at(&mut bytes, LENGTH - 9).unwrap();
        assert_eq!(&bytes, b"something");
        for allocated in [metadata.blocks(), again.file.metadata().unwrap().blocks()] {
            assert!(allocated * 512 < 1 << 20, "{allocated} blocks");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(again.fill(&path).await.unwrap().unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
