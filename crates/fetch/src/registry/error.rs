//! Why an image does not come.

use std::io;

use super::manifest::MAX_LAYERS;
use crate::auth::AuthError;
use crate::transfer::{SourceError, TransferError};
use banger_proto::Digest;
use banger_proto::Reference;
use banger_proto::oci::DigestError;

/// Why an image does not come.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry does not have it.
    #[error("there is no image `{image}`")]
    NotFound {
        /// The image, in its familiar form.
        image: String,
        /// The same with everything that was filled in.
        canonical: String,
    },
    /// The registry wants a login, or another one. Registries say the same of repositories that do
    /// not exist.
    #[error("registry `{registry}` gives no access to `{repository}`")]
    Unauthorized {
        /// The registry.
        registry: String,
        /// The repository.
        repository: String,
        /// Whether nobody was logged in.
        anonymous: bool,
        /// What the registry says.
        #[source]
        source: Box<SourceError>,
    },
    /// The registry gives no answer, or a bad one.
    #[error("cannot pull `{repository}` from registry `{registry}`")]
    Request {
        /// The registry.
        registry: String,
        /// The repository.
        repository: String,
        /// Why.
        #[source]
        source: Box<SourceError>,
    },
    /// A manifest is not what was asked for.
    #[error(
        "the manifest of `{image}` is damaged or was changed: expected {expected}, found {found}"
    )]
    Changed {
        /// The image, in its familiar form.
        image: String,
        /// The digest that was asked for or announced.
        expected: Digest,
        /// The digest it has.
        found: Digest,
    },
    /// The image is not one that can be used.
    #[error("cannot use image `{image}`")]
    Manifest {
        /// The image, in its familiar form.
        image: String,
        /// Why.
        #[source]
        source: Box<ManifestError>,
    },
    /// A layer or the configuration did not arrive.
    #[error("cannot pull image `{image}`")]
    Blob {
        /// The image, in its familiar form.
        image: String,
        /// Why.
        #[source]
        source: Box<TransferError>,
    },
    /// The cache cannot be read; the text says which file.
    #[error(transparent)]
    File(io::Error),
}

impl PullError {
    pub(super) fn manifest(reference: &Reference, source: ManifestError) -> Self {
        Self::Manifest { image: reference.familiar(), source: Box::new(source) }
    }

    /// What a failed request means; `anonymous` where nobody is logged in.
    pub(super) fn of(reference: &Reference, anonymous: bool, source: SourceError) -> Self {
        let registry = reference.registry().to_owned();
        let repository = reference.repository().to_owned();
        let refused = matches!(&source, SourceError::Auth(AuthError::Refused { .. }));
        let status = source.status();
        let source = Box::new(source);
        match status {
            Some(404) => {
                let (image, canonical) = (reference.familiar(), reference.canonical());
                Self::NotFound { image, canonical }
            }
            Some(401 | 403) => Self::Unauthorized { registry, repository, anonymous, source },
            _ if refused => Self::Unauthorized { registry, repository, anonymous, source },
            _ => Self::Request { registry, repository, source },
        }
    }
}

/// Why an image cannot be had from its manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is not of the form it says it has.
    #[error("the {what} cannot be read")]
    Form {
        /// `manifest`, `index` or `configuration`.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It is a form of the first days of Docker, which has no digests of layers.
    #[error("the manifest has the old form of Docker (schema 1), which cannot be verified")]
    Schema1,
    /// It is neither a manifest nor an index.
    #[error("the registry sent `{0}`, which is not an image")]
    Kind(String),
    /// It says one thing and its server another: somebody may be misled.
    #[error("the manifest calls itself `{own}`, the registry calls it `{sent}`")]
    Ambiguous {
        /// What it says.
        own: String,
        /// What the server says.
        sent: String,
    },
    /// An index in an index.
    #[error("the index names another index where the image should be")]
    Nested,
    /// There is nothing for this machine.
    #[error("there is no image for linux/amd64, only for {}", .0.join(", "))]
    Platform(Vec<String>),
    /// A digest is none.
    #[error("the manifest has a digest that is not usable")]
    Digest(#[from] DigestError),
    /// A layer is not in the registry.
    #[error(
        "layer `{digest}` must not be distributed (`{media_type}`): its licence forbids registries to have it, so that it cannot be fetched"
    )]
    Foreign {
        /// The layer.
        digest: Digest,
        /// What it is.
        media_type: String,
    },
    /// A layer is no file system.
    #[error(
        "layer `{digest}` is `{media_type}`, not a part of a file system: this is no image to boot"
    )]
    Layer {
        /// The layer.
        digest: Digest,
        /// What it is.
        media_type: String,
    },
    /// There are too many layers.
    #[error("the image has {0} layers; the most is {MAX_LAYERS}")]
    TooManyLayers(usize),
    /// A part is too large.
    #[error("`{digest}` has {size} bytes; the most is {limit}")]
    TooLarge {
        /// The layer or configuration.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// The most, in bytes.
        limit: u64,
    },
    /// Manifest and configuration contradict each other.
    #[error("the manifest has {layers} layers, the configuration {diff_ids}")]
    LayerCount {
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
}
