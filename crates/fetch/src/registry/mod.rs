//! Images out of registries (<https://github.com/opencontainers/distribution-spec>): from a name to
//! a verified configuration and the files of verified layers.
//!
//! ```text
//! name ──▶ manifest or index ──▶ manifest for linux/amd64 ──▶ configuration, layers (4 at once)
//!          digest checked          digest checked              digests checked, cached
//! ```
//!
//! All of it happens in the caller's future: dropped, it leaves complete blobs and partial ones that
//! the next pull goes on with, nothing else.

mod error;
mod manifest;
mod progress;
mod remote;

use std::sync::Arc;

pub use error::{ManifestError, PullError};
use futures_util::{StreamExt, TryStreamExt, stream};
use manifest::{Found, Part, Parts, parse_config, parse_manifest};
use oci_spec::image::ImageConfiguration;
pub use progress::Progress;
use progress::Tally;
use remote::{Remote, Sent};

use crate::auth::{AuthFiles, Helper};
use crate::blobs::{Blob, Blobs};
use crate::http::Http;
use banger_proto::Digest;
use banger_proto::Reference;

/// Layers received at the same time.
const LAYERS_AT_ONCE: usize = 4;

/// Pulls images from registries.
#[derive(Clone)]
pub struct Registry {
    http: Http,
    blobs: Blobs,
    logins: AuthFiles,
    helper: Arc<dyn Helper>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("blobs", &self.blobs)
            .field("logins", &self.logins)
            .finish_non_exhaustive()
    }
}

/// An image, all of which is here.
#[derive(Debug)]
pub struct Pulled {
    /// What was asked for.
    pub reference: Reference,
    /// What the reference led to, as [`Registry::resolve`] says it: the digest of an index where
    /// there is one, else that of the manifest.
    pub digest: Digest,
    /// The digest of the manifest.
    pub manifest_digest: Digest,
    /// The configuration as it was sent.
    pub config_bytes: Vec<u8>,
    /// The configuration.
    pub config: ImageConfiguration,
    /// The layers, lowest first. They stay on the disk for as long as this or a clone of its blobs
    /// lives.
    pub layers: Vec<LayerFile>,
}

/// A layer of an image.
#[derive(Debug, Clone)]
pub struct LayerFile {
    /// The verified file.
    pub blob: Blob,
    /// SHA-256 of the tar archive in it, as the configuration says; not verified, because that
    /// takes unpacking it.
    pub diff_id: Digest,
    /// What it is, and how it is compressed: `application/vnd.oci.image.layer.v1.tar+gzip`.
    pub media_type: String,
}

impl Registry {
    /// Asks through `http`, keeps what it gets in `blobs`, and logs in with what `logins` and
    /// `helper` have.
    #[must_use]
    pub fn new(http: Http, blobs: Blobs, logins: AuthFiles, helper: Arc<dyn Helper>) -> Self {
        Self { http, blobs, logins, helper }
    }

    /// The blobs that pulls leave.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// What `reference` leads to now, without fetching it: the same digest as of an earlier pull
    /// means the same image.
    ///
    /// # Errors
    /// As [`PullError`] says.
    pub async fn resolve(&self, reference: &Reference) -> Result<Digest, PullError> {
        self.connect(reference).await?.fetch_digest().await
    }

    /// Brings all of `reference` here. `observe` is told how many bytes there are whenever that
    /// changes, which is often.
    ///
    /// # Errors
    /// As [`PullError`] says. What has arrived until then stays and is not fetched again.
    pub async fn pull(
        &self,
        reference: &Reference,
        observe: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Pulled, PullError> {
        let remote = self.connect(reference).await?;
        let top = remote.fetch_top().await?;
        let (manifest_digest, parts) = find_parts(&remote, &top).await?;

        let present = |part: &Part| self.blobs.observe_present(&part.digest).min(part.size);
        let tally = Tally::new(&parts.layers, present, observe);
        let config = self.ensure(&remote, &parts.config, &|_| {}).await?;
        let config_bytes = fs_err::tokio::read(config.path()).await.map_err(PullError::File)?;
        let (config, diff_ids) = parse_config(&config_bytes, parts.layers.len())
            .map_err(|error| PullError::manifest(reference, error))?;

        tally.report();
        let layers = parts.layers.iter().zip(diff_ids).enumerate();
        let fetches: Vec<_> = layers
            .map(|(number, (part, diff_id))| {
                let (tally, remote) = (&tally, &remote);
                async move {
                    let progress = |done| tally.update(number, done);
                    let blob = self.ensure(remote, part, &progress).await?;
                    let media_type = part.media_type.clone();
                    Ok::<_, PullError>(LayerFile { blob, diff_id, media_type })
                }
            })
            .collect();
        let layers = stream::iter(fetches).buffered(LAYERS_AT_ONCE).try_collect().await?;
        let reference = reference.clone();
        Ok(Pulled { reference, digest: top.digest, manifest_digest, config_bytes, config, layers })
    }

    async fn connect<'a>(&'a self, reference: &'a Reference) -> Result<Remote<'a>, PullError> {
        Remote::connect(&self.http, reference, &self.logins, self.helper.as_ref()).await
    }

    async fn ensure(
        &self,
        remote: &Remote<'_>,
        part: &Part,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Blob, PullError> {
        let (source, retry) = (remote.blob(part.digest), self.http.retry());
        let blob = self.blobs.ensure(part.digest, part.size, &source, retry, progress).await;
        blob.map_err(|error| remote.blob_error(error))
    }
}

/// The parts of the image for this machine and the digest of its manifest.
async fn find_parts(remote: &Remote<'_>, top: &Sent) -> Result<(Digest, Parts), PullError> {
    let parse = |sent: &Sent| {
        parse_manifest(&sent.text, sent.content_type.as_deref())
            .map_err(|error| PullError::manifest(remote.reference(), error))
    };
    let chosen = match parse(top)? {
        Found::Manifest(parts) => return Ok((top.digest, parts)),
        Found::Index(chosen) => chosen.digest,
    };
    let sent = remote.fetch_manifest(&chosen.to_string(), Some(&chosen)).await?;
    match parse(&sent)? {
        Found::Manifest(parts) => Ok((sent.digest, parts)),
        Found::Index(_) => Err(PullError::manifest(remote.reference(), ManifestError::Nested)),
    }
}
