//! Images from registries: layers and configuration through `banger_fetch`, then as any other
//! image. Where one came from is written down with its digest, so that a later pull can tell
//! whether there is anything new.

use std::collections::BTreeMap;

use banger_fetch::{LayerFile, Pulled};
use banger_proto::{Digest, Reference};
use banger_rootfs::digest::sha256;
use banger_rootfs::layers::{self, Layer};

use super::build::Builder;
use super::config::parse_config;
use super::manifest::Manifest;
use super::oci::{NewImage, make_image};
use super::{ImageError, lost};
use crate::artifact::cancellable;
use crate::fetcher::{FetchError, Fetcher};
use crate::progress::Progress;

/// An image that is to come from a registry.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// The image.
    pub(super) reference: Reference,
    /// What the user called it.
    pub(super) asked: String,
    /// What else the user may have meant.
    pub(super) near: Option<String>,
}

/// Gets the image `wanted`, and takes it into the index as `about` says; about running it the
/// image itself says more.
///
/// # Errors
/// When it cannot be had, or cannot be used.
pub(super) async fn pull_image(
    builder: Builder,
    about: NewImage,
    wanted: Wanted,
    progress: Progress,
) -> Result<Manifest, ImageError> {
    let name = about.name.clone();
    let Wanted { reference, asked, near } = wanted;
    let failed = |source: FetchError| {
        let source = Box::new(source);
        ImageError::Fetch { name: asked, near, source }
    };
    progress.update(format!("asking {}", reference.registry()), 0, None);
    let meter = progress.meter("fetching layers");
    let fetch = async {
        let registry = builder.fetcher.registry()?;
        let observe = |at: banger_fetch::Progress| meter.update(at.done, at.total);
        Ok::<_, FetchError>(registry.pull(&reference, &observe).await?)
    };
    let pulled = fetch.await.map_err(failed)?;
    let mut run = parse_config(&pulled.config)
        .map_err(|source| ImageError::Config { name: name.to_string(), source })?
        .run;
    run.env = merge(about.run.env.clone(), run.env);
    let about = NewImage { source: render_source(&reference, &pulled.digest), run, ..about };

    builder.work.remove_leftovers().await;
    let work = builder.work.create()?;
    let fetcher = builder.fetcher.clone();
    let work = cancellable(move |cancelled| {
        // Both go when the work ends, not when somebody stops waiting for it: the directory, and
        // what keeps the layers from being pruned.
        let (work, pulled) = (work, pulled);
        let layers = pulled.layers.iter().map(layer).collect::<Vec<_>>();
        let made = make_image(&builder.index, work.path(), &layers, about, &cancelled, &progress);
        made.map_err(|error| explain(error, &pulled, &fetcher))
    });
    let manifest = work.await.map_err(|source| lost(name.as_str(), source))??;
    tracing::info!(image = %name, source = %manifest.source, "image pulled");
    Ok(manifest)
}

fn layer(file: &LayerFile) -> Layer {
    Layer {
        name: file.blob.digest().to_string(),
        path: file.blob.path().to_owned(),
        range: None,
        digest: Some(*file.blob.digest().as_bytes()),
        diff_id: Some(*file.diff_id.as_bytes()),
    }
}

/// `more` over `least`.
fn merge(
    mut least: BTreeMap<String, String>,
    more: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    least.extend(more);
    least
}

/// A layer that was good when it was fetched and is not now was damaged on this disk: it is
/// removed, or every later pull would fail like this one.
fn explain(error: ImageError, pulled: &Pulled, fetcher: &Fetcher) -> ImageError {
    let ImageError::Write { name, source: layers::ImageError::Layer { layer, .. } } = &error else {
        return error;
    };
    let file = pulled.layers.iter().find(|file| file.blob.digest().to_string() == *layer);
    let Some(blob) = file.map(|file| &file.blob) else { return error };
    let found = fs_err::File::open(blob.path()).and_then(|mut file| sha256(&mut file));
    match found {
        Ok(found) if found == *blob.digest().as_bytes() => error,
        _ => match fetcher.blobs().remove(&blob.digest()) {
            Ok(()) => ImageError::Damaged { name: name.clone(), layer: layer.clone() },
            Err(error) => error.into(),
        },
    }
}

/// What is written down about where an image came from: `docker.io/library/alpine:3@sha256:…`.
pub(super) fn render_source(reference: &Reference, digest: &Digest) -> String {
    match reference.digest() {
        Some(_) => reference.canonical(),
        None => format!("{}@{digest}", reference.canonical()),
    }
}

/// The reference that an image was pulled by, if it was pulled.
pub(super) fn parse_source(source: &str) -> Option<Reference> {
    let pinned: Reference = source.parse().ok()?;
    pinned.digest()?;
    if pinned.canonical() != source {
        return None;
    }
    match pinned.tag() {
        // It was pulled by its tag, which may mean another image by now.
        Some(_) => source.split_once('@').and_then(|(tagged, _)| tagged.parse().ok()),
        None => Some(pinned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_an_image_came_from_can_be_read_again() {
        let digest = Digest::from_bytes([0xab; 32]);
        let tagged: Reference = "alpine".parse().unwrap();
        let source = render_source(&tagged, &digest);
        assert!(source.starts_with("docker.io/library/alpine:latest@sha256:abab"));
        assert_eq!(parse_source(&source), Some(tagged));
        let pinned: Reference = format!("localhost:5000/x@{digest}").parse().unwrap();
        assert_eq!(parse_source(&render_source(&pinned, &digest)), Some(pinned));
        for other in ["recipe debian-bookworm", "app.tar", "alpine:3", "https://x/y", ""] {
            assert_eq!(parse_source(other), None, "{other}");
        }
    }

    #[test]
    fn what_the_image_says_comes_last() {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
        };
        let merged = merge(map(&[("A", "1"), ("B", "1")]), map(&[("B", "2")]));
        assert_eq!(merged, map(&[("A", "1"), ("B", "2")]));
    }
}
