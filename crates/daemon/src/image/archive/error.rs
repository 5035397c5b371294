//! What can be wrong with an archive.

use std::io;

/// Why an archive is no image. Each names the archive, and the member where there is one.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be read.
    #[error("cannot read `{archive}`")]
    Read {
        /// The archive.
        archive: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("`{archive}` {what}")]
    Archive {
        /// The archive.
        archive: String,
        /// What is wrong, after the name.
        what: String,
    },
    /// A member is not what it should be.
    #[error("`{member}` in `{archive}` {what}")]
    Member {
        /// The archive.
        archive: String,
        /// The member.
        member: String,
        /// What is wrong, after the name.
        what: String,
    },
    /// A member cannot be understood.
    #[error("cannot read `{member}` in `{archive}`")]
    Form {
        /// The archive.
        archive: String,
        /// The member.
        member: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Nobody waits for it any more.
    #[error("reading `{archive}` was given up")]
    Cancelled {
        /// The archive.
        archive: String,
    },
}
