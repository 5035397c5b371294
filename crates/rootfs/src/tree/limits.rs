//! How large an image may become, and why an entry cannot be part of one.

use banger_proto::ByteSize;

use super::name::MAX_STEPS;

/// What an image may grow to. Everything that any layer ever adds counts, also what a later one
/// replaces.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Names, implied parent directories included, and pieces of sparse files.
    pub entries: usize,
    /// Bytes of names, link targets and extended attributes together.
    pub text: usize,
    /// Bytes of all files' contents together; holes are free.
    pub bytes: u64,
    /// Bytes that one layer may decompress to: what is skipped, padded or unused counts as well.
    pub unpacked: u64,
}

impl Default for Limits {
    /// What keeps the memory for making an image below 100 MB, with what decompression takes for
    /// a layer as container tools write it. Measured, resident: 16 MB for 100,000 entries in a
    /// gzipped layer, 64 MB for 500,000. The contents are ten times the largest images in common
    /// use.
    fn default() -> Self {
        Self { entries: 600_000, text: 24 << 20, bytes: 64 << 30, unpacked: 96 << 30 }
    }
}

/// Why an entry cannot be part of an image.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TreeError {
    /// A name that could lead out of the image, or that no file can have.
    #[error("`{path}` is no usable name: {why}")]
    Name {
        /// The name as it was given.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A parent of the entry is there and is not a directory.
    #[error("`{path}` has a parent that is not a directory")]
    Parent {
        /// The entry.
        path: String,
    },
    /// Symbolic links in the entry's name lead nowhere.
    #[error("`{path}` goes through too many symbolic links or more than {MAX_STEPS} directories")]
    Loop {
        /// The entry.
        path: String,
    },
    /// A hard link to what is not there, or to a directory.
    #[error("`{path}` is a hard link to `{target}`, which is {why}")]
    Link {
        /// The entry.
        path: String,
        /// What it links to.
        target: String,
        /// `not there` or `a directory`.
        why: &'static str,
    },
    /// Too many entries.
    #[error("`{path}` is one more than the {limit} entries that an image may have")]
    Entries {
        /// The entry.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// Too long names, targets and attributes.
    #[error(
        "`{path}` takes names, link targets and extended attributes past the limit of {}",
        ByteSize::from_bytes(*.limit as u64).human()
    )]
    Text {
        /// The entry.
        path: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// Too many bytes.
    #[error("`{path}` takes the contents past the limit of {}", ByteSize::from_bytes(*.limit).human())]
    Bytes {
        /// The entry.
        path: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// Too many layers.
    #[error("more than {} layers", u16::MAX)]
    Layers,
}
