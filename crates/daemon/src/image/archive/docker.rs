//! What `docker save` wrote before it wrote the OCI layout, and what other tools write still:
//! `manifest.json` names a configuration and layers by member
//! (<https://github.com/moby/docker-image-spec/blob/main/v1.2.md>).

use oci_spec::image::ImageConfiguration;
use serde::Deserialize;

use super::store::{Store, parse_hex};
use super::{ArchiveError, Contents, check_layers};
use crate::artifact::Cancelled;
use banger_rootfs::layers::Layer;

/// Name of the document that everything begins with.
pub(super) const MANIFEST: &str = "manifest.json";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Finds the image in an archive, every digest verified that a name tells. The layers are held to
/// what the configuration says of them when they are read.
///
/// # Errors
/// When there is none or several, or something is missing or not what it is named by.
pub(super) fn read_saved(store: &Store, cancelled: &Cancelled) -> Result<Contents, ArchiveError> {
    let mut all: Vec<Saved> = store.parse(MANIFEST, &store.load(MANIFEST)?)?;
    if all.len() > 1 {
        let name = |saved: &Saved| match saved.repo_tags.iter().flatten().next() {
            Some(tag) => tag.clone(),
            None => saved.config.clone(),
        };
        let names: Vec<_> = all.iter().map(name).collect();
        let what = format!("holds several images, save one only: {}", names.join(", "));
        return Err(store.wrong_as_whole(what));
    }
    let saved = all.pop().ok_or_else(|| store.wrong_as_whole("holds no image"))?;
    verify_by_name(store, &saved.config, cancelled)?;
    let config: ImageConfiguration = store.parse(&saved.config, &store.load(&saved.config)?)?;
    let config = check_layers(store, &saved.config, &config, saved.layers.len())?;
    let mut layers = Vec::new();
    for (name, diff_id) in saved.layers.into_iter().zip(config.diff_ids) {
        let digest = verify_by_name(store, &name, cancelled)?;
        let part = store.find(&name)?;
        let (path, range) = (part.path, part.range);
        layers.push(Layer { name, path, range, digest, diff_id: Some(diff_id) });
    }
    let saved_as = saved.repo_tags.into_iter().flatten().next();
    Ok(Contents { layers, run: config.run, saved_as })
}

/// Verifies the digest of a member whose name is one (`blobs/sha256/HEX`, `sha256:HEX`,
/// `HEX.json`), and returns it.
fn verify_by_name(
    store: &Store,
    name: &str,
    cancelled: &Cancelled,
) -> Result<Option<[u8; 32]>, ArchiveError> {
    let digits = name
        .strip_prefix("blobs/sha256/")
        .or_else(|| name.strip_prefix("sha256:"))
        .or_else(|| name.strip_suffix(".json"));
    let Some(digest) = digits.and_then(parse_hex) else { return Ok(None) };
    store.verify(&store.find(name)?, name, &digest, cancelled)?;
    Ok(Some(digest))
}
