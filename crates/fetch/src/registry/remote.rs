//! One image in its registry: the requests that a pull consists of.

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, RequestBuilder, Url};

use super::PullError;
use super::manifest::{self, MAX_MANIFEST};
use crate::auth::{AuthFiles, Helper, Session};
use crate::hash::sha256;
use crate::http::retry::retrying;
use crate::http::{self, Http, HttpError, address};
use crate::network::Retry;
use crate::transfer::{Opened, Source, SourceError, TransferError, from_offset, parse_answer};
use banger_proto::Digest;
use banger_proto::Reference;

/// The header in which a registry says what a manifest's digest is.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// The registry of short names, and where it answers.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// An image in its registry.
#[derive(Debug)]
pub(super) struct Remote<'a> {
    reference: &'a Reference,
    session: Session<'a>,
    retry: Retry,
}

/// A manifest as it was sent, its digest verified.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) digest: Digest,
    pub(super) text: Vec<u8>,
    pub(super) content_type: Option<String>,
}

impl<'a> Remote<'a> {
    /// Finds out where the registry answers and what login there is for the image.
    pub(super) async fn connect(
        http: &'a Http,
        reference: &'a Reference,
        logins: &AuthFiles,
        helper: &dyn Helper,
    ) -> Result<Self, PullError> {
        let failed = |error| PullError::of(reference, false, error);
        let credential =
            logins.find(reference, helper).await.map_err(|error| failed(error.into()))?;
        let base = find_base(http, reference).await.map_err(|error| failed(error.into()))?;
        let session = Session::new(http, base, reference, credential);
        Ok(Self { reference, session, retry: http.retry() })
    }

    pub(super) fn reference(&self) -> &Reference {
        self.reference
    }

    /// The digest of what the reference leads to.
    pub(super) async fn fetch_digest(&self) -> Result<Digest, PullError> {
        let path = format!("manifests/{}", self.top_name());
        let ask = || self.session.send(Method::HEAD, &path, &accept);
        let answer = retrying(self.retry, ask).await.map_err(|error| self.error(error))?;
        match (header_digest(answer.headers()), self.reference.digest()) {
            (Some(found), Some(expected)) if found != *expected => {
                Err(self.changed(*expected, found))
            }
            (Some(found), _) => Ok(found),
            // Not every registry says it; then the manifest itself does.
            (None, _) => Ok(self.fetch_top().await?.digest),
        }
    }

    /// What the reference leads to: a manifest or an index.
    pub(super) async fn fetch_top(&self) -> Result<Sent, PullError> {
        self.fetch_manifest(&self.top_name(), self.reference.digest()).await
    }

    /// The manifest or index that is called `name`, a tag or a digest, and has the digest
    /// `expected` if that is known.
    pub(super) async fn fetch_manifest(
        &self,
        name: &str,
        expected: Option<&Digest>,
    ) -> Result<Sent, PullError> {
        let path = format!("manifests/{name}");
        let get = || async {
            let response = self.session.send(Method::GET, &path, &accept).await?;
            let headers = response.headers().clone();
            Ok::<_, SourceError>((headers, http::read_all(response, MAX_MANIFEST).await?))
        };
        let (headers, text) = retrying(self.retry, get).await.map_err(|error| self.error(error))?;
        let digest = sha256(&text);
        let claims = [expected.copied(), header_digest(&headers)];
        if let Some(claim) = claims.into_iter().flatten().find(|claim| *claim != digest) {
            return Err(self.changed(claim, digest));
        }
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Ok(Sent { digest, text, content_type: content_type.map(str::to_owned) })
    }

    /// A blob of the image.
    pub(super) fn blob(&self, digest: Digest) -> impl Source {
        RegistryBlob { session: &self.session, digest }
    }

    /// What it means that a blob did not arrive.
    pub(super) fn blob_error(&self, error: TransferError) -> PullError {
        match error {
            // The manifest is there, so that this is not about the image's name.
            TransferError::Source(error) if error.status() != Some(404) => self.error(error),
            source => {
                let (image, source) = (self.reference.familiar(), Box::new(source));
                PullError::Blob { image, source }
            }
        }
    }

    /// What the image is asked for by. The digest counts where there is one.
    fn top_name(&self) -> String {
        match (self.reference.digest(), self.reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or(banger_proto::oci::DEFAULT_TAG).to_owned(),
        }
    }

    fn error(&self, source: SourceError) -> PullError {
        PullError::of(self.reference, self.session.is_anonymous(), source)
    }

    fn changed(&self, expected: Digest, found: Digest) -> PullError {
        PullError::Changed { image: self.reference.familiar(), expected, found }
    }
}

/// Where the registry answers. One on this host may speak either way: what does not answer to TLS
/// is asked in the clear.
async fn find_base(http: &Http, reference: &Reference) -> Result<Url, HttpError> {
    let host = match reference.registry() {
        registry if registry == DOCKER_HUB.0 => DOCKER_HUB.1,
        registry => registry,
    };
    let encrypted = address::parse(&format!("https://{host}/v2/"))?;
    if !address::is_loopback(&encrypted) {
        return Ok(encrypted);
    }
    match http.send(Method::GET, &encrypted, |request| request).await {
        Ok(_) => Ok(encrypted),
        Err(error) if error.is_distrust() => Err(error),
        // Where nothing listens on this host, there is nothing to wait for.
        Err(error @ HttpError::Connect { refused: true, .. }) => Err(error),
        Err(_) => Ok(address::parse(&format!("http://{host}/v2/"))?),
    }
}

fn accept(request: RequestBuilder) -> RequestBuilder {
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
