//! A file that is being received, with the digest of what it has so far. Hashing and writing happen
//! on the blocking threads while the next bytes come in.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;

use crate::hash::finish;
use banger_proto::Digest;

/// Bytes read at once when a file is hashed.
const CHUNK: usize = 1 << 20;

/// A file that is being received.
#[derive(Debug)]
pub(crate) struct Partial {
    path: PathBuf,
    /// What is written, and what was handed over to be.
    len: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Idle(Content),
    Writing(JoinHandle<io::Result<Content>>),
    /// An operation failed or was cancelled: nobody knows what the file has.
    Lost,
}

#[derive(Debug)]
struct Content {
    file: fs_err::File,
    hasher: Sha256,
}

impl Partial {
    /// Hashes what `file`, which is at `path` and locked by its opener, has.
    pub(crate) async fn load(file: File, path: PathBuf) -> io::Result<Self> {
        let mut file = fs_err::File::from_parts(file, path.clone());
        let (content, len) = blocking(move || {
            let mut hasher = Sha256::new();
            let mut buffer = vec![0; CHUNK];
            let mut len = 0;
            file.rewind()?;
            loop {
                match file.read(&mut buffer)? {
                    0 => return Ok((Content { file, hasher }, len)),
                    count => {
                        hasher.update(&buffer[..count]);
                        len += count as u64;
                    }
                }
            }
        })
        .await?;
        Ok(Self { path, len, state: State::Idle(content) })
    }

    /// How many bytes are here.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Begins to write `pieces` at the end; a failure shows up in the next operation.
    pub(crate) async fn append(&mut self, pieces: Vec<Bytes>) -> io::Result<()> {
        let mut content = self.take().await?;
        self.len += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        self.state = State::Writing(tokio::task::spawn_blocking(move || {
            for piece in pieces {
                content.hasher.update(&piece);
                content.file.write_all(&piece)?;
            }
            Ok(content)
        }));
        Ok(())
    }

    /// Waits until everything is written.
    pub(crate) async fn settle(&mut self) -> io::Result<()> {
        self.state = State::Idle(self.take().await?);
        Ok(())
    }

    /// Forgets what is here.
    pub(crate) async fn restart(&mut self) -> io::Result<()> {
        let mut content = self.take().await?;
        content.file.set_len(0)?;
        content.file.rewind()?;
        content.hasher = Sha256::new();
        self.len = 0;
        self.state = State::Idle(content);
        Ok(())
    }

    /// The digest of all that is here.
    pub(crate) async fn digest(&mut self) -> io::Result<Digest> {
        let content = self.take().await?;
        let digest = finish(content.hasher.clone());
        self.state = State::Idle(content);
        Ok(digest)
    }

    /// Makes sure that the content survives a power failure, then gives it its name.
    pub(crate) async fn finish(mut self, into: &Path) -> io::Result<()> {
        let content = self.take().await?;
        let (path, into) = (self.path, into.to_owned());
        blocking(move || {
            content.file.sync_all()?;
            fs_err::rename(path, &into)?;
            match into.parent() {
                Some(dir) => fs_err::File::open(dir)?.sync_all(),
                None => Ok(()),
            }
        })
        .await
    }

    /// Removes the file.
    pub(crate) async fn remove(mut self) -> io::Result<()> {
        // The lock is held until the file is gone.
        let content = self.take().await?;
        let removed = fs_err::remove_file(&self.path);
        drop(content);
        removed
    }

    async fn take(&mut self) -> io::Result<Content> {
        match std::mem::replace(&mut self.state, State::Lost) {
            State::Idle(content) => Ok(content),
            State::Writing(task) => task.await.map_err(io::Error::other)?,
            State::Lost => Err(io::Error::other("an earlier operation on the file failed")),
        }
    }
}

/// Does `work` where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
