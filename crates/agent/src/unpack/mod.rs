//! The unpack service: a zstd-compressed tar stream becomes a directory, whole or not at all.
//!
//! ```text
//!  host ── Data … End ──▶ bounded queue ──▶ thread: zstd ──▶ thread: `banger_tree`
//!                                              │ whole          │ anything wrong
//!                                     rename into place     remove the partial tree
//! ```
//!
//! A repository that takes the place of another is exchanged with it by one rename (`replace`).

mod decode;
mod replace;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use banger_proto::guest::frame::Kind;
use banger_proto::guest::{UnpackRequest, Unpacked};
use banger_proto::{Code, Problem};
use banger_tree::{Fresh, Inlet, Piece, TreeError, pipe};

use self::decode::Decoded;
use crate::context::Context;
use crate::root::Root;
use crate::services::{FromHost, ServiceError, ToHost, require_configured};

/// Tells concurrent partial trees of one name apart.
static NEXT_PARTIAL: AtomicU64 = AtomicU64::new(0);

/// Why a tree was not unpacked.
#[derive(Debug, thiserror::Error)]
enum UnpackError {
    /// The stream is bad, or an entry cannot be written.
    #[error(transparent)]
    Stream(#[from] banger_tree::UnpackError),
    /// The tree did not take the place of the older one.
    #[error("cannot replace `{directory}` in the guest")]
    Replace {
        /// As requested.
        directory: String,
        /// Why.
        #[source]
        source: io::Error,
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
            Self::Replace { .. } => Code::OperationFailed,
            Self::Stream(error) => stream_code(error),
        }
    }
}

/// What a failure of a stream is to whoever sent it.
pub(crate) fn stream_code(error: &banger_tree::UnpackError) -> Code {
    match error {
        banger_tree::UnpackError::Entry { source: TreeError::Io(_), .. } => Code::OperationFailed,
        _ => Code::BadRequest,
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
    let partial = begin(&context.root, request)?;
    to_host.send_json(Kind::Accepted, &serde_json::json!({})).await?;

    let (inlet, outlet) = pipe();
    let request = request.clone();
    let mut worker = tokio::task::spawn_blocking(move || {
        let plain = Decoded::start(outlet).map_err(banger_tree::UnpackError::Archive)?;
        let unpacked = banger_tree::unpack(plain, partial.beneath())?;
        let notes = put_in_place(&partial, &request)?;
        let banger_tree::Unpacked { entries, bytes } = unpacked;
        Ok::<_, UnpackError>(Unpacked { entries, bytes, notes })
    });
    // The worker stops on its own when it fails, and when the queue ends without an `End`.
    let result = tokio::select! {
        result = &mut worker => result,
        () = feed(from_host, inlet) => worker.await,
    };
    let unpacked: Unpacked = result
        .map_err(|_| Problem::new(Code::OperationFailed, "unpacking the archive panicked"))??;
    Ok(to_host.send_json(Kind::Event, &unpacked).await?)
}

/// Passes the host's bytes on until the `End` frame, or until the host or the worker is gone.
pub(crate) async fn feed(from_host: &mut FromHost, inlet: Inlet) {
    loop {
        let piece = match from_host.next().await {
            Ok(Some(frame)) if frame.kind == Kind::Data => Piece::Bytes(frame.payload.into()),
            Ok(Some(frame)) if frame.kind == Kind::End => Piece::End,
            Ok(Some(_)) => continue,
            Ok(None) | Err(_) => return,
        };
        let last = matches!(piece, Piece::End);
        if !inlet.send(piece).await || last {
            return;
        }
    }
}

fn put_in_place(partial: &Fresh, request: &UnpackRequest) -> Result<Vec<String>, UnpackError> {
    let directory = || request.directory.clone();
    let failed = |source| UnpackError::Directory { directory: directory(), source };
    if let Some(how) = &request.replace
        && let Some(former) = partial.former().map_err(failed)?
    {
        let replaced = replace::replace(partial, former, how);
        return replaced.map_err(|source| UnpackError::Replace { directory: directory(), source });
    }
    partial.finish().map_err(failed)?;
    Ok(Vec::new())
}

fn begin(root: &Root, request: &UnpackRequest) -> Result<Fresh, UnpackError> {
    let directory = request.directory.as_str();
    let failed = |source| UnpackError::Directory { directory: directory.to_owned(), source };
    if !directory.starts_with('/') || directory.contains('\0') {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "an absolute path is needed");
        return Err(failed(error));
    }
    let number = NEXT_PARTIAL.fetch_add(1, Ordering::Relaxed);
    let root = root.open().map_err(failed)?;
    let (parent, name) = root.parent_of(Path::new(directory)).map_err(failed)?;
    let make = if request.replace.is_some() { Fresh::beside } else { Fresh::create };
    make(parent, name, number).map_err(failed)
}
