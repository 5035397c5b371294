//! Reading tar archives, as a stream: what each entry is, then its contents.
//!
//! ```text
//!  Reader::next ─▶ header block ─▶ 'x' 'g' 'L' 'K': read, kept for the entry they describe
//!                                └▶ anything else: a Member; its contents are `Reader`'s payload
//! ```
//!
//! All forms in use: v7, ustar, GNU (long names, sparse files, numbers in base 256) and PAX, whose
//! values are any bytes, line feeds included. Where programs read an ambiguous archive
//! differently, this follows Go's `archive/tar`, since that is what images are made and unpacked
//! with. The blocks' fields are `tar`'s; its own reader keeps headers of any length in memory and
//! takes a line feed in an attribute for the end of it.
//!
//! Not responsible for whether a name is acceptable; that is [`crate::tree`]'s.

mod header;
mod member;
mod number;
mod pax;
mod reader;
mod sparse;

use crate::tree::{Attributes, Object};

pub use reader::{Payload, Reader};
pub use sparse::Segment;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Its bytes cannot be had.
    #[error("cannot read past byte {at}")]
    Read {
        /// Where, counted in the uncompressed archive.
        at: u64,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is no tar archive, at least not there.
    #[error("the header at byte {at} is broken: {why}")]
    Header {
        /// Where, counted in the uncompressed archive.
        at: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// An entry says something that makes no sense.
    #[error("`{name}` has no usable {what}")]
    Field {
        /// The entry.
        name: String,
        /// What.
        what: &'static str,
    },
    /// An entry of an unknown kind.
    #[error("`{name}` is of a kind that is not supported: type `{kind}`")]
    Unsupported {
        /// The entry.
        name: String,
        /// The type's character.
        kind: String,
    },
}

/// One entry of an archive.
#[derive(Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub path: Vec<u8>,
    /// What it is.
    pub what: What,
    /// Where the bytes of its payload belong, in order. A file without holes has one segment.
    pub segments: Vec<Segment>,
}

/// What an entry is.
#[derive(Debug, PartialEq, Eq)]
pub enum What {
    /// Something with attributes of its own.
    Object(Object, Attributes),
    /// Another name of an earlier object.
    HardLink {
        /// Name of the earlier object.
        target: Vec<u8>,
    },
    /// Something that no image has: a socket, a label of the archive.
    Nothing,
}
