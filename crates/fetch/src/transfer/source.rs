//! Where content comes from: a server that is asked for what is missing, or a file of this host.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, HeaderValue, RANGE};
use reqwest::{RequestBuilder, Response, StatusCode};
use tokio::io::AsyncReadExt;

use crate::auth::AuthError;
use crate::http::retry::Transient;
use crate::http::{self, HttpError};

/// Bytes read at once from a file of this host.
const CHUNK: usize = 256 << 10;

/// Why there is nothing to receive.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The server.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The way to be allowed to ask the server.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The file; the text says which.
    #[error(transparent)]
    File(#[from] io::Error),
}

impl Transient for SourceError {
    fn is_transient(&self) -> bool {
        match self {
            Self::Http(error) => error.is_transient(),
            Self::Auth(error) => error.is_transient(),
            Self::File(_) => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Http(error) => error.retry_after(),
            Self::Auth(error) => error.retry_after(),
            Self::File(_) => None,
        }
    }
}

impl SourceError {
    /// The HTTP status, if a server gave one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Http(error) => error.status(),
            Self::Auth(_) | Self::File(_) => None,
        }
    }
}

/// Where content comes from.
pub(crate) trait Source: Sync {
    /// What it is called in errors.
    fn name(&self) -> String;

    /// Asks for everything from byte `offset` on.
    fn open(&self, offset: u64) -> impl Future<Output = Result<Opened, SourceError>> + Send;
}

/// What a source has.
#[derive(Debug)]
pub(crate) enum Opened {
    /// Some of it.
    Content {
        /// The first byte that comes: what was asked for, or zero.
        start: u64,
        /// How many bytes come, where that is known.
        left: Option<u64>,
        /// The bytes.
        body: Body,
    },
    /// Nothing from that byte on.
    NothingLeft,
}

/// Bytes that come in.
#[derive(Debug)]
pub(crate) enum Body {
    /// From a server.
    Response(Response),
    /// From a file.
    File(fs_err::tokio::File),
}

impl Body {
    pub(super) async fn next_chunk(&mut self) -> Result<Option<Bytes>, SourceError> {
        match self {
            Self::Response(response) => Ok(http::next_chunk(response).await?),
            Self::File(file) => {
                let mut chunk = vec![0; CHUNK];
                let count = file.read(&mut chunk).await?;
                chunk.truncate(count);
                Ok((count > 0).then(|| chunk.into()))
            }
        }
    }
}

/// What asks a server for everything from byte `offset` on.
pub(crate) fn from_offset(offset: u64) -> impl Fn(RequestBuilder) -> RequestBuilder + Sync {
    move |request| {
        // Compressed on the way, the bytes would be others than those that have the digest.
        let request = request.header(ACCEPT_ENCODING, "identity");
        match offset {
            0 => request,
            _ => request.header(RANGE, format!("bytes={offset}-")),
        }
    }
}

/// What the answer to a request made with [`from_offset`] has.
pub(crate) fn parse_answer(
    offset: u64,
    answer: Result<Response, SourceError>,
) -> Result<Opened, SourceError> {
    let response = match answer {
        Err(error) if offset > 0 && error.status() == Some(416) => return Ok(Opened::NothingLeft),
        answer => answer?,
    };
    let start = match response.status() {
        StatusCode::PARTIAL_CONTENT => {
            let range = response.headers().get(CONTENT_RANGE);
            let start = range.and_then(parse_range_start);
            // A server must not send another range than the one that was asked for.
            start.filter(|start| *start == offset).ok_or_else(|| HttpError::Nonsense {
                address: http::address::render(response.url()),
                reason: format!("bytes from {offset} on were asked for, others came"),
            })?
        }
        // A server may ignore the range and send everything.
        _ => 0,
    };
    let left = response.content_length();
    Ok(Opened::Content { start, left, body: Body::Response(response) })
}

/// The first byte of `bytes FIRST-LAST/TOTAL` (RFC 9110, section 14.4).
fn parse_range_start(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}
