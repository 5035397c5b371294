//! What is told about images.

use std::path::Path;

use banger_proto::ByteSize;
use banger_proto::api::{ImageView, RunConfig};

use super::catalog::{CatalogImage, Origin};
use super::manifest::{Location, Manifest};

/// An image that can be had.
pub(super) fn view_of_catalog(image: CatalogImage) -> ImageView {
    ImageView {
        name: image.name.into(),
        description: image.description,
        digest: None,
        size: match image.origin {
            Origin::Bundle(at) => at.size,
            Origin::Recipe { .. } | Origin::Registry(_) => ByteSize::default(),
        },
        created_at: None,
        local: false,
        source: None,
        kernel: image.kernel_ref,
        run: RunConfig { env: image.env, ..RunConfig::default() },
        distro: image.distro,
        arch: image.arch,
        path: None,
        registered: false,
        gone: false,
    }
}

/// An image that is in the index in the directory `images`.
pub(super) fn view_of_local(images: &Path, manifest: Manifest) -> ImageView {
    let path = manifest.path_in(images);
    ImageView {
        gone: path.as_ref().is_none_or(|path| !path.is_file()),
        path: path.map(|path| path.display().to_string()),
        registered: matches!(manifest.location, Location::Registered { .. }),
        name: manifest.name,
        description: manifest.description,
        digest: Some(manifest.digest).filter(|digest| !digest.is_empty()),
        size: manifest.size,
        created_at: Some(manifest.created_at),
        local: true,
        source: Some(manifest.source),
        kernel: manifest.kernel_ref,
        run: manifest.run,
        distro: manifest.distro,
        arch: manifest.arch,
    }
}
