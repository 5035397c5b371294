//! Archives that people have of images: told apart by what is in them, never by their names.
//!
//! | form | told by | parts |
//! |---|---|---|
//! | OCI layout, a directory or a tar | `index.json` | `layout` |
//! | `docker save` | `manifest.json` | `docker` |
//! | the tar of a root file system | everything else | one layer |
//!
//! Each may be compressed as a whole. The parts are read where they lie in the archive; only one
//! that is compressed as a whole is decompressed into the work directory first, except for a root
//! file system, which is a layer like any other.
//!
//! Everything is hostile: lengths are bounded, names stay inside, digests are verified.

mod docker;
mod error;
mod kind;
mod layout;
mod members;
mod store;

use std::path::Path;

use banger_proto::api::RunConfig;
use oci_spec::image::ImageConfiguration;

pub use error::ArchiveError;
use kind::Kind;
use members::Members;
use store::Store;

use super::config::{OciConfig, parse_config};
use crate::artifact::Cancelled;
use banger_rootfs::layers::Layer;

/// Most layers of an image: more than any builder makes.
const MAX_LAYERS: usize = 512;

/// An image as it is in an archive.
#[derive(Debug)]
pub(super) struct Contents {
    /// Its layers, the lowest first.
    pub(super) layers: Vec<Layer>,
    /// What it says about running it.
    pub(super) run: RunConfig,
    /// The name by which it was saved.
    pub(super) saved_as: Option<String>,
}

/// Finds the image in the archive or layout directory at `path`, which is called `archive` in
/// messages. What has to be decompressed goes into the directory `work`.
///
/// # Errors
/// When there is none or several, something is missing or not what it is named by, or nobody
/// waits any more.
pub(super) fn read_archive(
    path: &Path,
    archive: &str,
    work: &Path,
    cancelled: &Cancelled,
) -> Result<Contents, ArchiveError> {
    let read = |source| ArchiveError::Read { archive: archive.to_owned(), source };
    let data = fs_err::metadata(path).map_err(read)?;
    if data.is_dir() {
        let store = Store::directory(archive, path);
        if store.has(layout::INDEX) {
            return layout::read_layout(&store, cancelled);
        }
        let what = format!("is a directory without `{}`", layout::INDEX);
        return Err(ArchiveError::Archive { archive: archive.to_owned(), what });
    }
    if !data.is_file() {
        let what = "is neither a file nor a directory".to_owned();
        return Err(ArchiveError::Archive { archive: archive.to_owned(), what });
    }
    match kind::observe_kind(path, archive, cancelled)? {
        Kind::Rootfs => Ok(Contents {
            layers: vec![Layer { name: archive.to_owned(), ..Layer::of_file(path) }],
            run: RunConfig::default(),
            saved_as: None,
        }),
        Kind::Image { compressed } => {
            let plain = work.join("archive.tar");
            let path = if compressed {
                kind::decompress(path, archive, &plain, cancelled)?;
                &plain
            } else {
                path
            };
            let members = Members::list(path, archive, cancelled)?;
            let store = Store::tar(archive, path, members);
            // New archives of Docker have both, and only the layout names everything by digest.
            if store.has(layout::INDEX) {
                layout::read_layout(&store, cancelled)
            } else {
                docker::read_saved(&store, cancelled)
            }
        }
    }
}

/// What a configuration says, when it is one of an image with this number of layers.
fn check_layers(
    store: &Store,
    name: &str,
    config: &ImageConfiguration,
    layers: usize,
) -> Result<OciConfig, ArchiveError> {
    let config =
        parse_config(config).map_err(|error| store.wrong(name, format!("is no use: {error}")))?;
    let told = config.diff_ids.len();
    if told != layers {
        let what = format!("tells of {told} layers, and there are {layers}");
        return Err(store.wrong(name, what));
    }
    if layers == 0 || layers > MAX_LAYERS {
        let what = format!("is of an image with {layers} layers; there can be 1 to {MAX_LAYERS}");
        return Err(store.wrong(name, what));
    }
    Ok(config)
}

#[cfg(test)]
pub(super) mod tests;
