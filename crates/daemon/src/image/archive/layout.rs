//! The OCI image layout: `index.json`, and blobs named by their digests
//! (<https://github.com/opencontainers/image-spec/blob/main/image-layout.md>).
//!
//! ```text
//! index.json ─▶ [index ─▶] manifest of linux/amd64 ─▶ configuration
//!                                                  └▶ layers
//! ```

use std::collections::BTreeMap;

use oci_spec::image::{
    Arch, Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType, Os,
};

use super::store::{Store, blob_name};
use super::{ArchiveError, Contents, check_layers};
use crate::artifact::Cancelled;
use banger_rootfs::layers::Layer;

/// Name of the document that everything begins with.
pub(super) const INDEX: &str = "index.json";
/// Media types of Docker's own that mean the same as OCI's.
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// What marks a manifest that is no image: proof of how another one was built.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// By what name the image was saved.
const REF_NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// Finds the image for linux/amd64 in a layout, every digest verified.
///
/// # Errors
/// When there is none or several, or something is missing or not what it is named by.
pub(super) fn read_layout(store: &Store, cancelled: &Cancelled) -> Result<Contents, ArchiveError> {
    let index: ImageIndex = store.parse(INDEX, &store.load(INDEX)?)?;
    let mut candidates = Candidates::default();
    for entry in index.manifests() {
        if !is(entry, &MediaType::ImageIndex, DOCKER_INDEX) {
            candidates.add(entry, None);
            continue;
        }
        let (name, text) = store.load_blob(entry)?;
        let nested: ImageIndex = store.parse(&name, &text)?;
        for inner in nested.manifests() {
            candidates.add(inner, ref_name(entry));
        }
    }
    let chosen = candidates.choose(store)?;
    let (name, text) = store.load_blob(&chosen.descriptor)?;
    let manifest: ImageManifest = store.parse(&name, &text)?;
    let (name, text) = store.load_blob(manifest.config())?;
    let config: ImageConfiguration = store.parse(&name, &text)?;
    let config = check_layers(store, &name, &config, manifest.layers().len())?;
    let mut layers = Vec::new();
    for (descriptor, diff_id) in manifest.layers().iter().zip(config.diff_ids) {
        let (part, digest) = store.find_blob(descriptor)?;
        store.verify(&part, &blob_name(&digest), &digest, cancelled)?;
        layers.push(Layer {
            name: descriptor.digest().to_string(),
            path: part.path,
            range: part.range,
            digest: Some(digest),
            diff_id: Some(diff_id),
        });
    }
    Ok(Contents { layers, run: config.run, saved_as: chosen.saved_as })
}

fn is(descriptor: &Descriptor, oci: &MediaType, docker: &str) -> bool {
    descriptor.media_type() == oci || descriptor.media_type().as_ref() == docker
}

fn ref_name(descriptor: &Descriptor) -> Option<&str> {
    let annotations = descriptor.annotations().as_ref()?;
    REF_NAMES.iter().find_map(|name| annotations.get(*name)).map(String::as_str)
}

/// An image that may be meant.
struct Candidate {
    descriptor: Descriptor,
    saved_as: Option<String>,
}

/// The images of a layout, by digest: one may have several names.
#[derive(Default)]
struct Candidates {
    fitting: BTreeMap<String, Candidate>,
    others: Vec<String>,
}

impl Candidates {
    fn add(&mut self, descriptor: &Descriptor, outer: Option<&str>) {
        let proof =
            descriptor.annotations().as_ref().is_some_and(|a| a.contains_key(REFERENCE_TYPE));
        if proof || !is(descriptor, &MediaType::ImageManifest, DOCKER_MANIFEST) {
            return;
        }
        // One that does not say is told by its configuration.
        let fits = descriptor.platform().as_ref().is_none_or(|platform| {
            *platform.os() == Os::Linux && *platform.architecture() == Arch::Amd64
        });
        if fits {
            let saved_as = ref_name(descriptor).or(outer).map(str::to_owned);
            let candidate = Candidate { descriptor: descriptor.clone(), saved_as };
            self.fitting.entry(descriptor.digest().to_string()).or_insert(candidate);
        } else if let Some(platform) = descriptor.platform() {
            self.others.push(format!("{}/{}", platform.os(), platform.architecture()));
        }
    }

    fn choose(mut self, store: &Store) -> Result<Candidate, ArchiveError> {
        if self.fitting.len() > 1 {
            let names: Vec<_> = self
                .fitting
                .iter()
                .map(|(digest, candidate)| candidate.saved_as.as_deref().unwrap_or(digest))
                .collect();
            let what = format!("holds several images, save one only: {}", names.join(", "));
            return Err(store.wrong_as_whole(what));
        }
        match self.fitting.pop_first() {
            Some((_, candidate)) => Ok(candidate),
            None if self.others.is_empty() => Err(store.wrong_as_whole("holds no image")),
            None => {
                let what =
                    format!("holds no image for linux/amd64, but {}", self.others.join(", "));
                Err(store.wrong_as_whole(what))
            }
        }
    }
}
