//! What a snapshot takes on the host: as much as its guest uses, not as much as it could.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use banger_proto::supervisor::SAVED_MEMORY;
use banger_proto::{Code, Problem};

use super::failed;
use super::shelf::STAT_BLOCK;
use crate::disk;

/// Gives back to the host what of the memory in `directory`, if there is one, is zeroes: a VMM that writes its
/// guest's memory itself writes all of it.
///
/// # Errors
/// When it cannot be read or written.
pub(crate) async fn compact(directory: &Path) -> Result<(), Problem> {
    let memory = directory.join(SAVED_MEMORY);
    let compacted = tokio::task::spawn_blocking(move || dig(&memory));
    compacted
        .await
        .map_err(|gone| Problem::from_error(Code::OperationFailed, &gone))?
        .map_err(|error| failed("cannot finish the snapshot", &error))
}

fn dig(memory: &Path) -> io::Result<()> {
    let metadata = match fs_err::metadata(memory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    // Whoever left something out has left out all that there was: looking again takes as long as a guest
    // takes to come up.
    let is_sparse = metadata.blocks() * STAT_BLOCK < metadata.len();
    if is_sparse { Ok(()) } else { disk::dig_holes(memory) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    const LENGTH: usize = 1 << 20;

    #[tokio::test]
    async fn what_was_written_in_full_takes_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        compact(dir.path()).await.unwrap();

        let path = dir.path().join(SAVED_MEMORY);
        let mut bytes = vec![0; LENGTH];
        bytes[LENGTH / 2] = 1;
        std::fs::write(&path, &bytes).unwrap();
        compact(dir.path()).await.unwrap();
        assert!(std::fs::metadata(&path).unwrap().blocks() * STAT_BLOCK < LENGTH as u64 / 2);
        assert_eq!(std::fs::read(&path).unwrap(), bytes);

        // One with holes is believed to have all that it can have.
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(2 * LENGTH as u64).unwrap();
        file.write_all_at(&vec![0; LENGTH], 0).unwrap();
        file.sync_all().unwrap();
        compact(dir.path()).await.unwrap();
        assert!(std::fs::metadata(&path).unwrap().blocks() * STAT_BLOCK >= LENGTH as u64);
    }
}
