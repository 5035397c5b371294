//! Why an image cannot be made, naming the layer and the entry.

use super::Layer;
use crate::archive::ArchiveError;
use crate::digest::render_hex;
use crate::ext4::{Ext4Error, XattrError};
use crate::tree::TreeError;

/// Why an image cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A layer's file cannot be opened; the text says which.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// A layer cannot be used.
    #[error("cannot use layer `{layer}`")]
    Layer {
        /// Its name.
        layer: String,
        /// Why, naming the entry where there is one.
        #[source]
        source: LayerError,
    },
    /// The file system cannot be written.
    #[error(transparent)]
    Ext4(Ext4Error),
    /// Whoever watched wanted no more of it.
    #[error("making the image was cancelled")]
    Cancelled,
}

/// Why a layer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// Its archive is broken.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// An entry that must not be.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// An entry with attributes that cannot be.
    #[error("`{path}` has extended attributes that ext4 cannot hold")]
    Xattr {
        /// The entry.
        path: String,
        /// Why not.
        #[source]
        source: XattrError,
    },
    /// An entry that ext4 cannot hold.
    #[error(transparent)]
    Ext4(#[from] Ext4Error),
    /// The contents of an entry cannot be read.
    #[error("cannot read the contents of `{path}`")]
    Contents {
        /// The entry.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It is compressed in a way that is not supported.
    #[error("{0:?} compression is not supported for layers")]
    Compression(crate::decompress::Compression),
    /// It is not what it should be.
    #[error("its contents have the SHA-256 `{}`, and should have `{}`", render_hex(.found), render_hex(.expected))]
    Digest {
        /// What was read.
        found: [u8; 32],
        /// What was expected.
        expected: [u8; 32],
    },
    /// The part of the file that it should be in is not there.
    #[error("its file has {size} bytes, and it should end at byte {end}")]
    Range {
        /// The file's size.
        size: u64,
        /// Where the layer should end.
        end: u64,
    },
    /// Its file was written to meanwhile.
    #[error("its file changed while it was read")]
    Changed,
}

impl ImageError {
    /// An error about an entry belongs to the layer that made the entry.
    pub(super) fn of_ext4(error: Ext4Error, layers: &[Layer]) -> Self {
        let Ext4Error::Entry { layer: number, .. } = &error else { return Self::Ext4(error) };
        match usize::from(*number).checked_sub(1).and_then(|place| layers.get(place)) {
            Some(layer) => Self::Layer { layer: layer.name.clone(), source: error.into() },
            None => Self::Ext4(error),
        }
    }
}
