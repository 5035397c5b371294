//! What comes over the network, as far as images need it.

use std::path::{Path, PathBuf};

use super::catalog::BundleAt;
use crate::progress::Progress;

/// What an address of a local file begins with.
const FILE: &str = "file://";

/// Why something does not come.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// An address that nothing is fetched from.
    #[error("`{0}` is no address to fetch from: use https:// or file://")]
    Scheme(String),
    /// More than expected.
    #[error("`{url}` has more than {limit} bytes")]
    TooLong {
        /// The address.
        url: String,
        /// Bytes that were expected at most.
        limit: u64,
    },
    /// Not the bytes that were promised.
    #[error("`{url}` has the SHA-256 {found}, not {expected}")]
    Digest {
        /// The address.
        url: String,
        /// What it should have.
        expected: String,
        /// What it has.
        found: String,
    },
    /// There is nothing of this name, as far as anybody who was asked knows.
    #[error("no registry was asked for `{0}`: this build knows none")]
    NoRegistry(String),
    /// A local file cannot be read.
    #[error(transparent)]
    File(#[from] std::io::Error),
}

/// The file at a `file://` address.
fn local(url: &str) -> Result<PathBuf, NetworkError> {
    match url.strip_prefix(FILE) {
        Some(path) if path.starts_with('/') => Ok(path.into()),
        _ => Err(NetworkError::Scheme(url.to_owned())),
    }
}

/// The bytes at `url`, of which there may be `limit`.
///
/// # Errors
/// When they cannot be had, or are more.
pub(super) async fn get_small(url: &str, limit: u64) -> Result<Vec<u8>, NetworkError> {
    let path = local(url)?;
    if fs_err::tokio::metadata(&path).await?.len() > limit {
        return Err(NetworkError::TooLong { url: url.to_owned(), limit });
    }
    Ok(fs_err::tokio::read(path).await?)
}

/// The verified bundle at `at`, in the new file `into` or wherever it lies.
///
/// # Errors
/// When it cannot be had, or is not what was promised.
pub(super) async fn download(
    at: &BundleAt,
    into: &Path,
    progress: &Progress,
) -> Result<(), NetworkError> {
    let path = local(&at.url)?;
    progress.update("fetching the bundle", 0, Some(at.size.bytes()));
    fs_err::tokio::copy(&path, into).await?;
    let into = into.to_owned();
    let found = tokio::task::spawn_blocking(move || {
        banger_rootfs::digest::sha256(&mut fs_err::File::open(into)?)
    });
    let found = found.await.map_err(std::io::Error::other)??;
    if found == at.sha256 {
        return Ok(());
    }
    let hex = banger_rootfs::digest::render_hex;
    let (expected, found) = (hex(&at.sha256), hex(&found));
    Err(NetworkError::Digest { url: at.url.clone(), expected, found })
}
