//! The unpack service: a zstd-compressed tar stream becomes a directory, whole or not at all.
//!
//! ```text
//!  host ── Data … End ──▶ bounded queue ──▶ worker thread: zstd ─▶ tar ─▶ `tree`
//!                                              │ whole          │ anything wrong
//!                                     rename into place     remove the partial tree
//! ```

mod archive;
mod tree;

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use banger_proto::guest::frame::Kind;
use banger_proto::guest::{UnpackRequest, Unpacked};
use banger_proto::{Code, Problem};
use tokio::sync::mpsc;

use crate::context::Context;
use crate::root::Root;
use crate::services::{FromHost, ServiceError, ToHost, require_configured};
use tree::{Partial, TreeError};

/// Frames that wait for the worker, normally of 64 KiB each.
const QUEUE: usize = 8;

/// Tells concurrent partial trees of one name apart.
static NEXT_PARTIAL: AtomicU64 = AtomicU64::new(0);

/// Why a tree was not unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    /// The stream is not a zstd-compressed tar archive, or ended too early.
    #[error("cannot read the archive")]
    Archive(#[source] io::Error),
    /// The archive has more entries than any real tree.
    #[error("the archive has more than {0} entries")]
    TooManyEntries(u64),
    /// An entry cannot be, or must not be, written.
    #[error("cannot unpack `{name}`")]
    Entry {
        /// The entry's name; bytes that are not UTF-8 are escaped.
        name: String,
        /// Why.
        #[source]
        source: TreeError,
    },
    /// The directory itself cannot be made or named.
    #[error("cannot create `{directory}` in the guest")]
    Directory {
        /// As requested.
        directory: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl UnpackError {
    fn code(&self) -> Code {
        match self {
            Self::Directory { source, .. } => match source.kind() {
                io::ErrorKind::AlreadyExists => Code::AlreadyExists,
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Code::NotFound,
                io::ErrorKind::InvalidInput => Code::BadRequest,
                _ => Code::OperationFailed,
            },
            Self::Entry { source: TreeError::Io(_), .. } => Code::OperationFailed,
            Self::Archive(_) | Self::TooManyEntries(_) | Self::Entry { .. } => Code::BadRequest,
        }
    }
}

impl From<UnpackError> for ServiceError {
    fn from(error: UnpackError) -> Self {
        Self::Refused(Problem::from_error(error.code(), &error))
    }
}

/// Unpacks the stream into the requested directory.
pub(crate) async fn serve(
    context: &Arc<Context>,
    request: &UnpackRequest,
    from_host: &mut FromHost,
    to_host: &mut ToHost,
) -> Result<(), ServiceError> {
    require_configured(context)?;
    let partial = begin(&context.root, &request.directory)?;
    to_host.send_json(Kind::Accepted, &serde_json::json!({})).await?;

    let (queue, queued) = mpsc::channel(QUEUE);
    let directory = request.directory.clone();
    let mut worker = tokio::task::spawn_blocking(move || {
        let unpacked = archive::unpack(Queued::new(queued), &partial)?;
        partial
            .finish()
            .map_err(|source| UnpackError::Directory { directory, source })
            .map(|()| unpacked)
    });
    // The worker stops on its own when it fails, and when the queue ends without an `End`.
    let result = tokio::select! {
        result = &mut worker => result,
        () = feed(from_host, queue) => worker.await,
    };
    let unpacked: Unpacked = result
        .map_err(|_| Problem::new(Code::OperationFailed, "unpacking the archive panicked"))??;
    Ok(to_host.send_json(Kind::Event, &unpacked).await?)
}

/// Passes the host's bytes on until the `End` frame, or until the host or the worker is gone.
async fn feed(from_host: &mut FromHost, queue: mpsc::Sender<Piece>) {
    loop {
        let piece = match from_host.next().await {
            Ok(Some(frame)) if frame.kind == Kind::Data => Piece::Bytes(frame.payload),
            Ok(Some(frame)) if frame.kind == Kind::End => Piece::End,
            Ok(Some(_)) => continue,
            Ok(None) | Err(_) => return,
        };
        let last = matches!(piece, Piece::End);
        if queue.send(piece).await.is_err() || last {
            return;
        }
    }
}

fn begin(root: &Root, directory: &str) -> Result<Partial, UnpackError> {
    let failed = |source| UnpackError::Directory { directory: directory.to_owned(), source };
    if !directory.starts_with('/') || directory.contains('\0') {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "an absolute path is needed");
        return Err(failed(error));
    }
    let number = NEXT_PARTIAL.fetch_add(1, Ordering::Relaxed);
    let root = root.open().map_err(failed)?;
    let (parent, name) = root.parent_of(Path::new(directory)).map_err(failed)?;
    Partial::create(parent, name, number).map_err(failed)
}

/// What the queue carries.
#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    End,
}

/// The queue as the worker reads it: an end that the host did not announce is an error.
#[derive(Debug)]
struct Queued {
    queue: mpsc::Receiver<Piece>,
    piece: Vec<u8>,
    read: usize,
    ended: bool,
}

impl Queued {
    fn new(queue: mpsc::Receiver<Piece>) -> Self {
        Self { queue, piece: Vec::new(), read: 0, ended: false }
    }
}

impl Read for Queued {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.piece.len() {
            if self.ended {
                return Ok(0);
            }
            match self.queue.blocking_recv() {
                Some(Piece::Bytes(bytes)) => (self.piece, self.read) = (bytes, 0),
                Some(Piece::End) => self.ended = true,
                None => {
                    let text = "the transfer was broken off";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
                }
            }
        }
        let length = buffer.len().min(self.piece.len() - self.read);
        buffer[..length].copy_from_slice(&self.piece[self.read..self.read + length]);
        self.read += length;
        Ok(length)
    }
}
