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

use std::sync::Arc;

pub use error::PullError;
use futures_util::{StreamExt, TryStreamExt, stream};
pub use manifest::ManifestError;
use manifest::{Found, MAX_MANIFEST, Part, Parts, parse_config, parse_manifest};
use oci_spec::image::ImageConfiguration;
pub use progress::Progress;
use progress::Tally;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, Url};

use crate::auth::{AuthFiles, Helper, Session};
use crate::blobs::{Blob, Blobs};
use crate::digest::Digest;
use crate::http::retry::retrying;
use crate::http::{self, Http, HttpError, address};
use crate::reference::Reference;
use crate::transfer::{Opened, Source, SourceError, TransferError, from_offset, parse_answer};

/// Layers received at the same time.
const LAYERS_AT_ONCE: usize = 4;

/// The header in which a registry says what a manifest's digest is.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// Where the registry of short names answers.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

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

/// A manifest as it was sent, its digest verified.
struct Sent {
    digest: Digest,
    text: Vec<u8>,
    content_type: Option<String>,
}

impl Registry {
    /// Asks through `http`, keeps what it gets in `blobs`, and logs in with what `logins` and
    /// `helper` have.
    #[must_use]
    pub fn new(http: Http, blobs: Blobs, logins: AuthFiles, helper: Arc<dyn Helper>) -> Self {
        Self { http, blobs, logins, helper }
    }

    /// What `reference` leads to now, without fetching it: the same digest as of an earlier pull
    /// means the same image.
    ///
    /// # Errors
    /// As [`PullError`] says.
    pub async fn resolve(&self, reference: &Reference) -> Result<Digest, PullError> {
        let session = self.open_session(reference).await?;
        let name = manifest_name(reference);
        let ask = async || {
            let path = format!("manifests/{name}");
            session.send(Method::HEAD, &path, &accept).await
        };
        let answer = retrying(self.http.retry(), ask).await;
        let answer = answer.map_err(|error| PullError::of(reference, &session, error))?;
        match (header_digest(answer.headers()), reference.digest()) {
            (Some(said), Some(wanted)) if said != *wanted => Err(PullError::Changed {
                reference: reference.clone(),
                expected: *wanted,
                found: said,
            }),
            (Some(said), _) => Ok(said),
            // Not every registry says it; then the manifest itself does.
            (None, _) => Ok(self
                .fetch_manifest(reference, &session, &name, reference.digest())
                .await?
                .digest),
        }
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
        let session = self.open_session(reference).await?;
        let name = manifest_name(reference);
        let top = self.fetch_manifest(reference, &session, &name, reference.digest()).await?;
        let (manifest_digest, parts) = self.find_parts(reference, &session, &top).await?;

        let present = |part: &Part| self.blobs.observe_present(&part.digest).min(part.size);
        let tally = Tally::new(&parts.layers, present, observe);
        let config = self.ensure(reference, &session, &parts.config, &|_| {}).await?;
        let config_bytes = fs_err::tokio::read(config.path()).await.map_err(PullError::File)?;
        let (config, diff_ids) = parse_config(&config_bytes, parts.layers.len())
            .map_err(|error| PullError::manifest(reference, error))?;

        tally.report();
        let fetches =
            parts.layers.iter().zip(diff_ids).enumerate().map(|(number, (part, diff_id))| {
                let (tally, session) = (&tally, &session);
                async move {
                    let progress = |done| tally.update(number, done);
                    let blob = self.ensure(reference, session, part, &progress).await?;
                    Ok::<_, PullError>(LayerFile {
                        blob,
                        diff_id,
                        media_type: part.media_type.clone(),
                    })
                }
            });
        let fetches: Vec<_> = fetches.collect();
        let layers = stream::iter(fetches).buffered(LAYERS_AT_ONCE).try_collect().await?;
        let reference = reference.clone();
        Ok(Pulled { reference, digest: top.digest, manifest_digest, config_bytes, config, layers })
    }

    async fn open_session(&self, reference: &Reference) -> Result<Session<'_>, PullError> {
        let auth = |error: crate::AuthError| PullError::Request {
            registry: reference.registry().to_owned(),
            repository: reference.repository().to_owned(),
            source: error.into(),
        };
        let credential = self.logins.find(reference, self.helper.as_ref()).await.map_err(auth)?;
        let base = self.find_base(reference).await.map_err(|error| PullError::Request {
            registry: reference.registry().to_owned(),
            repository: reference.repository().to_owned(),
            source: error.into(),
        })?;
        Ok(Session::new(&self.http, base, reference, credential))
    }

    /// Where the registry answers. One on this host may speak either way: what does not answer to
    /// TLS is asked in the clear.
    async fn find_base(&self, reference: &Reference) -> Result<Url, HttpError> {
        let host = match reference.registry() {
            registry if registry == DOCKER_HUB.0 => DOCKER_HUB.1,
            registry => registry,
        };
        let encrypted = address::parse(&format!("https://{host}/v2/"))?;
        if !address::is_loopback(&encrypted) {
            return Ok(encrypted);
        }
        match self.http.send(Method::GET, &encrypted, |request| request).await {
            Ok(_) => Ok(encrypted),
            Err(error) if error.is_distrust() => Err(error),
            Err(_) => Ok(address::parse(&format!("http://{host}/v2/"))?),
        }
    }

    /// The parts of the image for this machine and the digest of its manifest.
    async fn find_parts(
        &self,
        reference: &Reference,
        session: &Session<'_>,
        top: &Sent,
    ) -> Result<(Digest, Parts), PullError> {
        let failed = |error| PullError::manifest(reference, error);
        let found = parse_manifest(&top.text, top.content_type.as_deref()).map_err(failed)?;
        let chosen = match found {
            Found::Manifest(parts) => return Ok((top.digest, parts)),
            Found::Index(chosen) => chosen.digest,
        };
        let sent =
            self.fetch_manifest(reference, session, &chosen.to_string(), Some(&chosen)).await?;
        match parse_manifest(&sent.text, sent.content_type.as_deref()).map_err(failed)? {
            Found::Manifest(parts) => Ok((sent.digest, parts)),
            Found::Index(_) => Err(failed(ManifestError::Nested)),
        }
    }

    async fn fetch_manifest(
        &self,
        reference: &Reference,
        session: &Session<'_>,
        name: &str,
        expected: Option<&Digest>,
    ) -> Result<Sent, PullError> {
        let get = async || {
            let response = session.send(Method::GET, &format!("manifests/{name}"), &accept).await?;
            let headers = response.headers().clone();
            Ok::<_, SourceError>((headers, http::read_all(response, MAX_MANIFEST).await?))
        };
        let (headers, text) = retrying(self.http.retry(), get)
            .await
            .map_err(|error| PullError::of(reference, session, error))?;
        let digest = Digest::of(&text);
        let said = header_digest(&headers);
        match expected.copied().or(said).filter(|expected| *expected != digest) {
            Some(expected) => {
                Err(PullError::Changed { reference: reference.clone(), expected, found: digest })
            }
            None => {
                let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
                let content_type = content_type.map(str::to_owned);
                Ok(Sent { digest, text, content_type })
            }
        }
    }

    async fn ensure(
        &self,
        reference: &Reference,
        session: &Session<'_>,
        part: &Part,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Blob, PullError> {
        let source = RegistryBlob { session, digest: part.digest };
        let retry = self.http.retry();
        let blob = self.blobs.ensure(part.digest, part.size, &source, retry, progress).await;
        blob.map_err(|error| match error {
            TransferError::Source(error) => PullError::of(reference, session, error),
            source => PullError::Blob { reference: reference.clone(), source },
        })
    }
}

/// What a manifest is asked for by. The digest counts where there is one.
fn manifest_name(reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.to_owned(),
        (None, None) => "latest".to_owned(),
    }
}

fn accept(request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    request.header(ACCEPT, manifest::ACCEPT)
}

/// What the registry says is the digest. Of another algorithm it says nothing to us.
fn header_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get(CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
}

/// A blob in a repository.
struct RegistryBlob<'a> {
    session: &'a Session<'a>,
    digest: Digest,
}

impl Source for RegistryBlob<'_> {
    fn name(&self) -> String {
        self.digest.to_string()
    }

    async fn open(&self, offset: u64) -> Result<Opened, SourceError> {
        let path = format!("blobs/{}", self.digest);
        let answer = self.session.send(Method::GET, &path, &from_offset(offset)).await;
        parse_answer(offset, answer)
    }
}
