//! Why an image does not come.

use std::io;

use super::manifest::ManifestError;
use crate::auth::{AuthError, Session};
use crate::digest::Digest;
use crate::reference::Reference;
use crate::transfer::{SourceError, TransferError};

/// Why an image does not come.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry does not have it.
    #[error("there is no image `{}`", .0.familiar())]
    NotFound(Reference),
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
        source: SourceError,
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
        source: SourceError,
    },
    /// A manifest is not what was asked for.
    #[error("the manifest of `{}` is damaged or was changed: expected {expected}, found {found}", .reference.familiar())]
    Changed {
        /// The image.
        reference: Reference,
        /// The digest that was asked for or announced.
        expected: Digest,
        /// The digest it has.
        found: Digest,
    },
    /// The image is not one that can be used.
    #[error("cannot use image `{}`", .reference.familiar())]
    Manifest {
        /// The image.
        reference: Reference,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// A layer or the configuration did not arrive.
    #[error("cannot pull image `{}`", .reference.familiar())]
    Blob {
        /// The image.
        reference: Reference,
        /// Why.
        #[source]
        source: TransferError,
    },
    /// The cache cannot be read; the text says which file.
    #[error(transparent)]
    File(io::Error),
}

impl PullError {
    pub(super) fn manifest(reference: &Reference, source: ManifestError) -> Self {
        Self::Manifest { reference: reference.clone(), source }
    }

    /// What a failed request means.
    pub(super) fn of(reference: &Reference, session: &Session<'_>, source: SourceError) -> Self {
        let registry = reference.registry().to_owned();
        let repository = reference.repository().to_owned();
        let refused = matches!(&source, SourceError::Auth(AuthError::Refused { .. }));
        match source.status() {
            Some(404) => Self::NotFound(reference.clone()),
            _ if refused => {
                let anonymous = session.is_anonymous();
                Self::Unauthorized { registry, repository, anonymous, source }
            }
            Some(401 | 403) => {
                let anonymous = session.is_anonymous();
                Self::Unauthorized { registry, repository, anonymous, source }
            }
            _ => Self::Request { registry, repository, source },
        }
    }
}
