//! Bytes of known SHA-256 from somewhere into a file, whatever happens on the way. The only place
//! where content is received and verified; blobs and downloads are both made of it.
//!
//! ```text
//!            ┌───────── broke: pause, go on where it broke ─────────┐
//!            ▼                                                      │
//! NAME.partial ──▶ hash what is there ──▶ ask for the rest ──▶ hash and write ──▶ digest right?
//!                                                                                  │       │
//!                                            yes: flush, rename to NAME ◀──────────┘       │
//!                                            no: remove (once more from the start, if ◀────┘
//!                                            bytes of an earlier run were among them)
//! ```
//!
//! NAME therefore exists complete and verified or not at all. The partial file is locked while
//! somebody works on it ([`turn`]), and outlives whoever was killed.

mod partial;
mod source;
mod turn;

use std::io;
use std::path::Path;

use bytes::Bytes;
pub(crate) use partial::Partial;
pub use source::SourceError;
pub(crate) use source::{Body, Opened, Source, from_offset, parse_answer};
pub(crate) use turn::{is_at, lock_shared, take_turn, try_lock_exclusive};

use crate::http::retry::{Backoff, Transient};
use crate::network::Retry;
use banger_proto::Digest;

/// What is collected before it is hashed and written, in bytes. What is lost when this process is
/// killed is at most twice this.
const FLUSH: usize = 256 << 10;

/// Progress that makes a broken connection count as a new failure and not as one more, in bytes.
const PROGRESS: u64 = 64 << 10;

/// Most that is taken from a server when nobody said how much there is, in bytes.
const MAX_UNANNOUNCED: u64 = 64 << 30;

/// What is to be received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Its SHA-256.
    pub(crate) digest: Digest,
    /// Its size in bytes, where that is known.
    pub(crate) size: Option<u64>,
}

/// Why something did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// Where it comes from.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It is something else than what was asked for. Nothing of it was kept.
    #[error("`{name}` is damaged or was changed: expected {expected}, found {found}")]
    Digest {
        /// What was received.
        name: String,
        /// The digest it should have.
        expected: Digest,
        /// The digest it has.
        found: Digest,
    },
    /// The server sends more than was announced. Nothing of it was kept.
    #[error("`{name}` is longer than the {size} bytes that were announced")]
    TooLong {
        /// What was received.
        name: String,
        /// The size it should have, in bytes.
        size: u64,
    },
    /// The server says that there is nothing more, but there should be.
    #[error("`{name}` ends after {received} of {size} bytes")]
    TooShort {
        /// What was received.
        name: String,
        /// How much of it came, in bytes.
        received: u64,
        /// The size it should have, in bytes.
        size: u64,
    },
    /// The file cannot be written; the text says which.
    #[error(transparent)]
    File(#[from] io::Error),
}

impl Transient for TransferError {
    fn is_transient(&self) -> bool {
        match self {
            Self::Source(error) => error.is_transient(),
            Self::TooShort { .. } => true,
            _ => false,
        }
    }

    fn retry_after(&self) -> Option<std::time::Duration> {
        match self {
            Self::Source(error) => error.retry_after(),
            _ => None,
        }
    }
}

/// Completes `partial` from `source` and moves it to `into`. `progress` gets the number of bytes
/// that are here, whenever that changes.
///
/// # Errors
/// As [`TransferError`] says. What can be continued stays in the partial file.
pub(crate) async fn receive(
    source: &impl Source,
    mut partial: Partial,
    into: &Path,
    wanted: Wanted,
    retry: Retry,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), TransferError> {
    let mut backoff = Backoff::new(retry);
    let mut best = partial.len();
    let mut from_before = partial.len() > 0;
    if wanted.size.is_some_and(|size| partial.len() > size) {
        partial.restart().await?;
    }
    loop {
        progress(partial.len());
        let tried = match wanted.size {
            Some(size) if size == partial.len() => Ok(()),
            _ => receive_rest(source, &mut partial, wanted, progress).await,
        };
        match tried {
            Ok(()) => {
                let found = partial.digest().await?;
                if found == wanted.digest {
                    partial.finish(into).await?;
                    return Ok(());
                }
                if !from_before {
                    partial.remove().await?;
                    let (name, expected) = (source.name(), wanted.digest);
                    return Err(TransferError::Digest { name, expected, found });
                }
                // Whatever an earlier run left may have suffered since, in a power failure say.
                tracing::warn!(name = source.name(), "the partial file is damaged; starting anew");
                from_before = false;
                partial.restart().await?;
            }
            Err(error @ TransferError::TooLong { .. }) => {
                partial.remove().await?;
                return Err(error);
            }
            Err(error) => {
                if partial.len() >= best + PROGRESS {
                    best = partial.len();
                    backoff.progressed();
                }
                let Some(pause) = backoff.next_pause(&error) else {
                    partial.settle().await?;
                    return Err(error);
                };
                tracing::info!(name = source.name(), %error, ?pause, "going on where it broke");
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// One connection's worth.
async fn receive_rest(
    source: &impl Source,
    partial: &mut Partial,
    wanted: Wanted,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), TransferError> {
    let limit = wanted.size.unwrap_or(MAX_UNANNOUNCED);
    let too_long = || TransferError::TooLong { name: source.name(), size: limit };
    let (start, left, mut body) = match source.open(partial.len()).await? {
        Opened::Content { start, left, body } => (start, left, body),
        // The server's is no longer than what is here: the digest tells whether it is the same.
        Opened::NothingLeft if wanted.size.is_none() => return Ok(()),
        Opened::NothingLeft => {
            let received = partial.len();
            partial.restart().await?;
            return Err(TransferError::TooShort { name: source.name(), received, size: limit });
        }
    };
    if start != partial.len() {
        partial.restart().await?;
    }
    if left.is_some_and(|left| left > limit.saturating_sub(partial.len())) {
        return Err(too_long());
    }
    let mut collected: Vec<Bytes> = Vec::new();
    let mut size = 0;
    let end = loop {
        let chunk = match body.next_chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error.into()),
        };
        if chunk.len() as u64 > limit.saturating_sub(partial.len() + size as u64) {
            break Err(too_long());
        }
        size += chunk.len();
        collected.push(chunk);
        if size >= FLUSH {
            partial.append(std::mem::take(&mut collected)).await?;
            size = 0;
        }
        progress(partial.len() + size as u64);
    };
    partial.append(collected).await?;
    end?;
    match wanted.size {
        Some(size) if partial.len() < size => {
            Err(TransferError::TooShort { name: source.name(), received: partial.len(), size })
        }
        _ => Ok(()),
    }
}
