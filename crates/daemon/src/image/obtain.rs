//! Getting an image that is not here.
//!
//! ```text
//! name ─ catalog? ─ recipe ──────────────▶ built ──────┐
//!      │          │  └ no packaging tools ─┐           ├─▶ index
//!      │          ├ registry ──────────────┤           │
//!      │          └ bundle ────────────────┼▶ unpacked ┤
//!      └ no ─ OCI reference ───────────────┴▶ layers ──┘
//! ```

use banger_proto::ImageName;

use super::build::{Builder, build_image};
use super::bundle::take_bundle;
use super::catalog::{BundleAt, CatalogImage, Origin};
use super::manifest::Manifest;
use super::{ImageError, lost, network};
use crate::artifact::cancellable;
use crate::artifact::mmdebstrap::PackagingError;
use crate::progress::Progress;

/// Gets `image` in the way the catalog says.
///
/// # Errors
/// When it cannot be had.
pub(super) async fn obtain_known(
    builder: Builder,
    image: CatalogImage,
    progress: Progress,
) -> Result<Manifest, ImageError> {
    let (name, oci) = (image.name.clone(), image.oci.clone());
    match image.origin.clone() {
        Origin::Registry => pull_image(builder, name.clone(), oci.unwrap_or(name), progress).await,
        Origin::Bundle(at) => fetch_bundle(builder, name, at, progress).await,
        Origin::Recipe { recipe, suite } => {
            let built = build_image(builder.clone(), image, recipe, suite, progress.clone()).await;
            match (built, oci) {
                (Err(ImageError::Packaging { source, .. }), Some(oci)) if is_no_tool(&source) => {
                    progress.notice(format!(
                        "Image `{name}` cannot be built here ({source}); getting `{oci}` instead."
                    ));
                    pull_image(builder, name, oci, progress).await
                }
                (built, _) => built,
            }
        }
    }
}

/// Whether a build failed for what the host lacks, and not in its course.
fn is_no_tool(error: &PackagingError) -> bool {
    matches!(error, PackagingError::Missing { .. } | PackagingError::NoSubordinateIds { .. })
}

/// Gets the image that `reference` means from its registry, and takes it into the index as `name`.
///
/// # Errors
/// When it cannot be had.
pub(super) async fn pull_image(
    _builder: Builder,
    name: ImageName,
    reference: ImageName,
    _progress: Progress,
) -> Result<Manifest, ImageError> {
    // The integrator connects the registry here: what it gives (verified layer files and a
    // configuration) goes through `config::parse_config` into `oci::make_image`.
    let source = network::NetworkError::NoRegistry(reference.to_string());
    Err(ImageError::Network { name: name.to_string(), source })
}

async fn fetch_bundle(
    builder: Builder,
    name: ImageName,
    at: BundleAt,
    progress: Progress,
) -> Result<Manifest, ImageError> {
    let work = builder.work.create()?;
    let file = work.path().join("bundle.tar.zst");
    network::download(&at, &file, &progress)
        .await
        .map_err(|source| ImageError::Network { name: name.to_string(), source })?;
    let taken = name.clone();
    let work = cancellable(move |cancelled| {
        // The directory goes when the work ends, not when somebody stops waiting for it.
        let work = work;
        take_bundle(&builder.index, work.path(), &file, &taken, &at.url, &cancelled, &progress)
    });
    work.await.map_err(|source| lost(name.as_str(), source))?
}
