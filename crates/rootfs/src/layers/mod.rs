//! Layers of an image, which are tar archives, one over the other → one ext4 image.
//!
//! ```text
//!             first reading                           second reading
//! layers ──▶ names, attributes, sizes ──▶ plan ──▶ contents ──▶ image
//!            SHA-256 checked        all metadata is written
//! ```
//!
//! Every layer is read twice, since ext4's metadata is laid out before the first byte of contents.
//! Nothing is unpacked in between. What no layer above leaves anything of is not read again.
//!
//! # Identity
//!
//! The image's bytes are a function of the layers' contents and of the code here, so its identity
//! is the SHA-256 of [`FORMAT`] and of the SHA-256 of every uncompressed layer: known before the
//! image is written. Hashing the finished image would read all of it again.
//!
//! # Memory
//!
//! What grows are the tree and the plan: 130 bytes for an entry with a short name, bounded by
//! [`Limits`]. Decompression has a window beside: 32 KiB of gzip, as large as the layer asks for
//! up to `crate::stream::MAX_WINDOW` of xz and zstd.
//!
//! Not responsible for getting layers or for knowing which belong together.

mod contents;
mod error;
mod index;
mod stream;

use std::fs::File;
use std::ops::{ControlFlow, Range};
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::ext4::{self, Identity};
use crate::tree::{Limits, Tree};

pub use error::{ImageError, LayerError};
pub use index::{Indexed, index_layer};

use stream::{Source, Watch};

/// What the writer is, as far as its bytes go: to be changed with anything that changes them.
pub const FORMAT: &str = "banger ext4 image, version 2";
/// Label of images: what they are to a VM.
const LABEL: &str = "base";

/// One layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// What messages call it: its digest or a file name.
    pub name: String,
    /// The file that it is in, compressed or not.
    pub path: PathBuf,
    /// Where in the file it is, when the file is an archive of layers.
    pub range: Option<Range<u64>>,
    /// SHA-256 of the file (of `range`), where somebody has checked it already. It identifies the
    /// layer when there is no `diff_id`, which saves hashing it.
    pub digest: Option<[u8; 32]>,
    /// SHA-256 that the uncompressed archive has to have.
    pub diff_id: Option<[u8; 32]>,
}

impl Layer {
    /// A file that nothing is known about.
    #[must_use]
    pub fn of_file(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Self { name, path, range: None, digest: None, diff_id: None }
    }
}

/// How far the work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What is being done.
    pub phase: Phase,
    /// Bytes of the layers, as they are stored, that were read in this phase.
    pub done: u64,
    /// Bytes of all layers, as they are stored.
    pub total: u64,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The layers are read for the first time.
    Indexing,
    /// The image is written.
    Writing,
}

/// An image that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// What it is: the same for the same layers. Not the SHA-256 of the file.
    pub digest: [u8; 32],
    /// Length of the file in bytes; on the disk it takes less.
    pub size: u64,
    /// Files, directories and so on in it.
    pub entries: u64,
}

/// Makes an ext4 image in `image`, which must be empty, of `layers`, the lowest first. The same
/// layers give the same bytes. Nothing is synced to the disk. `watch` is called now and then;
/// `Break` from it ends the work.
///
/// # Errors
/// When a layer cannot be read, is not what it should be, holds what an image cannot or passes the
/// limits, when the image cannot be written, or `watch` says so.
pub fn write_image(
    layers: &[Layer],
    image: &File,
    limits: Limits,
    watch: &dyn Fn(Step) -> ControlFlow<()>,
) -> Result<Built, ImageError> {
    let sources = layers.iter().map(Source::open).collect::<Result<Vec<_>, _>>()?;
    let total = sources.iter().map(Source::len).sum();
    let mut tree = Tree::new(limits);
    let mut identity = Sha256::new_with_prefix(FORMAT);
    let mut newest = 0;
    // Where the numbers of each layer's contents begin.
    let mut numbers = vec![0];
    let mut watching = Watch::new(watch, Phase::Indexing, total);
    for source in &sources {
        let first = numbers.last().copied().unwrap_or(0);
        let indexed = index::index_source(source, &mut tree, first, limits, &mut watching)?;
        identity.update(indexed.identity);
        newest = newest.max(indexed.newest);
        numbers.push(indexed.next_source);
    }
    let digest: [u8; 32] = identity.finalize().into();
    let identity = Identity::from_digest(&digest, LABEL, newest);
    let named = |error| ImageError::of_ext4(error, layers);
    let plan = ext4::plan_tree(&mut tree, identity).map_err(named)?;
    let mut writer = plan.start(image).map_err(named)?;
    let mut watching = Watch::new(watch, Phase::Writing, total);
    for (source, numbers) in sources.iter().zip(numbers.windows(2)) {
        contents::copy(source, numbers[0]..numbers[1], &mut writer, limits, &mut watching)?;
        source.check_unchanged()?;
    }
    writer.finish().map_err(named)?;
    Ok(Built { digest, size: plan.size(), entries: plan.entries() })
}
