//! Why a release was not got or not put in use. Whatever the reason is, the one in use is as it was.

use std::io;
use std::path::PathBuf;

use banger_fetch::DownloadError;

use crate::{TARGET, Version};

/// The reason.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The list of releases is none.
    #[error("the list of releases is damaged")]
    Manifest(#[source] serde_json::Error),
    /// It has a form of a later time.
    #[error("the list of releases has form {0}, which this banger does not know")]
    Schema(u32),
    /// The list is empty.
    #[error("there is no release yet")]
    NoRelease,
    /// The list does not have it.
    #[error("there is no release {0}")]
    NoSuchRelease(Version),
    /// There are programs for other machines only.
    #[error("{0} is not made for {TARGET}")]
    NotForThisMachine(Version),
    /// Going back is not what an update is for.
    #[error("{version} is older than {installed}, which is installed")]
    Older {
        /// What was asked for or is the newest.
        version: Version,
        /// What there is.
        installed: Version,
    },
    /// Something did not arrive.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// A release without one of the files that vouch for it.
    #[error("{version} has no `{file}`, so that nothing vouches for it")]
    Unsigned {
        /// The release.
        version: Version,
        /// What is missing.
        file: &'static str,
    },
    /// Somebody else has signed it, or it was changed since.
    #[error("the signature is not that of banger's makers: the release was changed or forged")]
    Signature,
    /// The list of hashes is damaged.
    #[error("line {0} of the list of hashes is none")]
    Sums(usize),
    /// The list of hashes does not have the archive.
    #[error("what is signed as {version} has no `{file}`")]
    NotSigned {
        /// The release.
        version: Version,
        /// The archive.
        file: String,
    },
    /// What was unpacked is not what was signed.
    #[error("`{0}` was changed after it was fetched")]
    Changed(PathBuf),
    /// The archive has something that no release has.
    #[error("the archive has `{name}`, which is {what}")]
    Entry {
        /// Its name, as far as it can be shown.
        name: String,
        /// What is wrong with it, a fragment.
        what: &'static str,
    },
    /// The archive lacks something that each release has.
    #[error("the archive has no `{0}`")]
    Incomplete(&'static str),
    /// The archive cannot be read.
    #[error("the archive is damaged")]
    Archive(#[source] io::Error),
    /// Another update is at work.
    #[error("another update of `{0}` is under way")]
    Busy(PathBuf),
    /// Somebody else's installation.
    #[error("`{path}` cannot be changed by this user")]
    NotAllowed {
        /// The directory of releases.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file or directory of the installation.
    #[error(transparent)]
    Disk(#[from] io::Error),
}
