//! Getting an image that is not here.
//!
//! ```text
//! name ─ catalog? ─ recipe ──────────────▶ built ──────┐
//!      │          │  └ no packaging tools ─┐           ├─▶ index
//!      │          ├ registry ──────────────┤           │
//!      │          └ bundle ────────────────┼▶ unpacked ┤
//!      └ no ─ OCI reference ───────────────┴▶ layers ──┘
//! ```

use banger_proto::api::RunConfig;
use banger_proto::{ImageName, Reference};

use super::build::{Builder, build_image};
use super::bundle::take_bundle;
use super::catalog::{BundleAt, CatalogImage, Origin};
use super::manifest::Manifest;
use super::oci::NewImage;
use super::pull::{Wanted, pull_image};
use super::{ImageError, lost};
use crate::artifact::cancellable;
use crate::artifact::mmdebstrap::PackagingError;
use crate::disk::check_space;
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
    match image.origin.clone() {
        Origin::Registry(reference) => pull_known(builder, image, reference, progress).await,
        Origin::Bundle(at) => fetch_bundle(builder, image.name, at, progress).await,
        Origin::Recipe { recipe, suite, instead } => {
            let building =
                build_image(builder.clone(), image.clone(), recipe, suite, progress.clone());
            match (building.await, instead) {
                (Err(ImageError::Packaging { source, .. }), Some(instead))
                    if is_no_tool(&source) =>
                {
                    let (name, from) = (&image.name, instead.familiar());
                    progress.notice(format!(
                        "Image `{name}` cannot be built here ({source}); getting `{from}` instead."
                    ));
                    pull_known(builder, image, instead, progress).await
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

/// Gets an image that no catalog knows, and takes it into the index as `name`.
///
/// # Errors
/// When it cannot be had.
pub(super) async fn obtain_unknown(
    builder: Builder,
    name: ImageName,
    wanted: Wanted,
    progress: Progress,
) -> Result<Manifest, ImageError> {
    let from = &wanted.reference;
    let about = NewImage {
        name,
        description: format!("from {}/{}", from.registry(), from.repository()),
        source: String::new(),
        distro: "unknown".into(),
        arch: "amd64".into(),
        kernel_ref: None,
        run: RunConfig::default(),
        replace: true,
    };
    pull_image(builder, about, wanted, progress).await
}

async fn pull_known(
    builder: Builder,
    image: CatalogImage,
    reference: Reference,
    progress: Progress,
) -> Result<Manifest, ImageError> {
    let wanted = Wanted { reference, asked: image.name.to_string(), near: None };
    pull_image(builder, image.describe(String::new()), wanted, progress).await
}

async fn fetch_bundle(
    builder: Builder,
    name: ImageName,
    at: BundleAt,
    progress: Progress,
) -> Result<Manifest, ImageError> {
    builder.work.remove_leftovers().await;
    let work = builder.work.create()?;
    check_space(work.path(), at.size)?
        .map_err(|source| ImageError::Space { name: name.to_string(), source })?;
    let file = work.path().join("bundle.tar.zst");
    let fetched = builder.fetcher.download(
        &at.url,
        at.sha256,
        at.size.bytes(),
        &file,
        &progress,
        "fetching the image",
    );
    fetched.await.map_err(|source| ImageError::Fetch {
        name: name.to_string(),
        near: None,
        source: Box::new(source),
    })?;
    let taken = name.clone();
    let work = cancellable(move |cancelled| {
        // The directory goes when the work ends, not when somebody stops waiting for it.
        let work = work;
        take_bundle(&builder.index, work.path(), &file, &taken, &at.url, &cancelled, &progress)
    });
    work.await.map_err(|source| lost(name.as_str(), source))?
}
