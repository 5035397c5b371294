//! The first reading: what a layer does to the tree.

use std::io::BufRead;

use super::stream::{Source, Watch};
use super::{ImageError, LayerError};
use crate::archive::{ArchiveError, Member, Reader, What};
use crate::ext4::{check_xattrs, refuse_object};
use crate::tree::{Limits, Object, Tree, shown};

/// Beginning of the names of whiteouts.
const WHITEOUT: &[u8] = b".wh.";
/// Beginning of the names that say something else than what is hidden.
const META: &[u8] = b".wh..wh.";
/// The name that hides all that lower layers have in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What is known of a layer after its first reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Indexed {
    /// What it is: the SHA-256 of the uncompressed archive, or else of the file.
    pub(super) identity: [u8; 32],
    /// Latest modification time in it, as far as a superblock can hold it.
    pub newest: u32,
    /// The number that the contents of the next layer begin with.
    pub next_source: u32,
}

/// What an entry of a layer means.
pub(super) enum Meaning<'a> {
    /// A file and so on.
    Entry,
    /// This path in lower layers is hidden.
    Hide(Vec<u8>),
    /// Everything beside this path in lower layers is hidden.
    HideSiblings(&'a [u8]),
    /// Nothing to an image.
    Nothing,
}

/// Applies the archive that `input` gives to `tree`, as its next layer. Contents get numbers from
/// `first_source` on.
///
/// # Errors
/// When the archive is broken, or holds what an image cannot.
pub fn index_layer(
    reader: &mut Reader<impl BufRead>,
    tree: &mut Tree,
    first_source: u32,
) -> Result<Indexed, LayerError> {
    tree.begin_layer()?;
    let mut newest = 0;
    let mut number = first_source;
    while let Some(member) = reader.next()? {
        let Member { path, what, .. } = member;
        match meaning(&path) {
            Meaning::Entry => {}
            Meaning::Hide(hidden) => {
                tree.hide(&hidden)?;
                continue;
            }
            Meaning::HideSiblings(path) => {
                tree.hide_siblings(path)?;
                continue;
            }
            Meaning::Nothing => continue,
        }
        match what {
            What::Object(mut object, attributes) => {
                let time = u32::try_from(attributes.mtime.0.max(0)).unwrap_or(u32::MAX);
                newest = newest.max(time);
                if let Object::File { source, .. } = &mut object {
                    *source = number;
                    number = number.saturating_add(1);
                }
                if let Some(what) = refuse_object(&object) {
                    return Err(ArchiveError::Field { name: shown(&path), what }.into());
                }
                if !attributes.xattrs.is_empty() {
                    check_xattrs(&attributes.xattrs)
                        .map_err(|source| LayerError::Xattr { path: shown(&path), source })?;
                }
                tree.insert(&path, object, &attributes)?;
            }
            What::HardLink { target } => tree.link(&path, &target)?,
            What::Nothing => {}
        }
    }
    reader.drain()?;
    Ok(Indexed { identity: [0; 32], newest, next_source: number })
}

/// As [`index_layer`], from a file; checks that it is what it should be.
pub(super) fn index_source(
    source: &Source,
    tree: &mut Tree,
    first_source: u32,
    limits: Limits,
    watch: &mut Watch<'_>,
) -> Result<Indexed, ImageError> {
    let expected = source.layer.diff_id;
    let known = expected.or(source.layer.digest);
    let hash = expected.is_some() || known.is_none();
    let mut reader = Reader::new(source.stream(limits.unpacked, hash, watch)?);
    let outcome = index_layer(&mut reader, tree, first_source);
    let stream = reader.input_mut();
    if stream.is_cancelled() {
        return Err(ImageError::Cancelled);
    }
    let found = stream.take_digest();
    let mut indexed = outcome.map_err(|error| source.error(error))?;
    if let Some(expected) = expected.filter(|expected| *expected != found) {
        return Err(source.error(LayerError::Digest { found, expected }));
    }
    indexed.identity = if hash { found } else { known.unwrap_or(found) };
    drop(reader);
    if watch.pass(source.len()).is_break() {
        return Err(ImageError::Cancelled);
    }
    Ok(indexed)
}

/// What an entry of this name means.
pub(super) fn meaning(path: &[u8]) -> Meaning<'_> {
    let trimmed = &path[..path.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1)];
    let name = trimmed.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    let (parent, name) = trimmed.split_at(name);
    match name.strip_prefix(WHITEOUT) {
        _ if name == OPAQUE => Meaning::HideSiblings(trimmed),
        // What a storage driver of old kept for itself.
        _ if name.starts_with(META) => Meaning::Nothing,
        // Without a name there is nothing to hide; `.` and `..` are no names.
        Some(b"" | b"." | b"..") => Meaning::Nothing,
        Some(hidden) => Meaning::Hide([parent, hidden].concat()),
        None => Meaning::Entry,
    }
}
