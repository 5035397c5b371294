//! A root filesystem's tar file → one ext4 image.
//!
//! The archive is read twice: once for names, attributes and sizes, since ext4's metadata is
//! laid out before the first byte of contents, and once for the contents. Nothing is unpacked
//! in between.

use std::fs::File;
use std::io::{BufReader, Seek};
use std::path::Path;

use tar::Archive;

use crate::digest::{HashingReader, sha256};
use crate::ext4::{self, Ext4Error, Identity};
use crate::tar_entry::{EntryError, ParsedEntry, parse_entry};
use crate::tree::{Limits, Tree, TreeError};

/// Label of images: what they are to a VM.
const LABEL: &str = "base";
/// Bytes read from the archive at once.
const BUFFER: usize = 1 << 20;

/// Why an image cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The archive cannot be read, or the image cannot be written.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// The archive is broken.
    #[error("cannot read `{archive}`")]
    Archive {
        /// Its path.
        archive: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An entry that cannot be used.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// An entry that must not be.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The file system cannot be written.
    #[error(transparent)]
    Ext4(#[from] Ext4Error),
}

/// An image that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// SHA-256 of the ext4 file.
    pub digest: [u8; 32],
    /// Its length in bytes; on the disk it takes less.
    pub size: u64,
    /// Files, directories and so on in it.
    pub entries: u64,
}

/// Makes an ext4 image in `image`, which must be empty and open for reading, of the tar file at
/// `archive`. The same archive gives the same bytes. Nothing is synced to the disk.
///
/// # Errors
/// When the archive cannot be read, holds what an image cannot, passes the limits, or the image
/// cannot be written.
pub fn write_image(archive: &Path, image: &File, limits: Limits) -> Result<Built, ImageError> {
    let indexed = index(archive, limits)?;
    let identity = Identity::from_digest(&indexed.digest, LABEL, indexed.newest);
    let plan = ext4::plan_tree(&indexed.tree, &identity)?;
    let mut writer = plan.start(image)?;
    let broken = |source| ImageError::Archive { archive: archive.display().to_string(), source };
    let mut contents = Archive::new(open(archive)?);
    for (number, entry) in (0..).zip(contents.entries_with_seek().map_err(broken)?) {
        let mut entry = entry.map_err(broken)?;
        if plan.expects(number) {
            writer.fill(number, &mut entry)?;
        }
    }
    writer.finish()?;
    let mut reader = image;
    reader.rewind()?;
    let digest = sha256(&mut reader)?;
    Ok(Built { digest, size: plan.size(), entries: indexed.entries })
}

struct Indexed {
    tree: Tree,
    /// SHA-256 of the archive.
    digest: [u8; 32],
    /// Latest modification time in it, as far as a superblock can hold it.
    newest: u32,
    entries: u64,
}

fn index(archive: &Path, limits: Limits) -> Result<Indexed, ImageError> {
    let broken = |source| ImageError::Archive { archive: archive.display().to_string(), source };
    let mut tree = Tree::new(limits);
    let mut newest = 0;
    let mut entries = 0;
    let mut reader = Archive::new(HashingReader::new(open(archive)?));
    for (number, entry) in (0..).zip(reader.entries().map_err(broken)?) {
        let mut entry = entry.map_err(broken)?;
        entries += 1;
        match parse_entry(&mut entry, number)? {
            ParsedEntry::Object { path, kind, attributes } => {
                newest = newest.max(u32::try_from(attributes.mtime.0.max(0)).unwrap_or(u32::MAX));
                tree.insert(&path, kind, attributes)?;
            }
            ParsedEntry::HardLink { path, target } => tree.link(&path, &target)?,
            ParsedEntry::Nothing => {}
        }
    }
    let mut reader = reader.into_inner();
    reader.drain()?;
    Ok(Indexed { tree, digest: reader.finish(), newest, entries })
}

fn open(path: &Path) -> std::io::Result<BufReader<fs_err::File>> {
    Ok(BufReader::with_capacity(BUFFER, fs_err::File::open(path)?))
}
