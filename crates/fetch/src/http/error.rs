//! How asking a server fails.

use std::path::PathBuf;
use std::time::Duration;

use super::address::AddressError;
use super::resolve::ResolveError;
use super::retry::Transient;

/// Any error of a library.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why there can be no client with these settings.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A proxy's address is wrong. It is not shown, because it may hold a password.
    #[error("`{variable}` is not the address of an http proxy (`http://host:port`)")]
    Proxy {
        /// The environment variable that it came from.
        variable: &'static str,
    },
    /// Certificate authorities cannot be read.
    #[error("cannot read certificate authorities from `{path}`")]
    CaFile {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: Cause,
    },
    /// There are none.
    #[error("there is no certificate (PEM) in `{path}`")]
    NoCertificate {
        /// The file or directory.
        path: PathBuf,
    },
    /// The TLS library refuses.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    /// The HTTP library refuses.
    #[error("cannot set up the network client")]
    Client(#[source] Cause),
}

impl SetupError {
    pub(super) fn client(error: reqwest::Error) -> Self {
        Self::Client(error.without_url().into())
    }
}

/// Why a server gave no answer, or a bad one.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address is not one to ask.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The host has no address.
    #[error("cannot find the host `{host}`")]
    Resolve {
        /// The host.
        host: String,
        /// Why.
        #[source]
        source: ResolveError,
    },
    /// Nothing answers there.
    #[error("cannot connect to `{host}`")]
    Connect {
        /// The host, with its port if that is special.
        host: String,
        /// Whether the host said so: nothing listens there.
        refused: bool,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The two sides do not agree on encryption, or the server's certificate is not trusted.
    #[error("no secure connection to `{host}`")]
    Tls {
        /// The host.
        host: String,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// A redirect that is not followed.
    #[error("cannot follow `{address}`")]
    Redirect {
        /// What was asked for.
        address: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// Nothing came for too long.
    #[error("`{host}` sent nothing for too long")]
    TimedOut {
        /// The host.
        host: String,
    },
    /// The connection ended before the answer did.
    #[error("the connection to `{host}` broke")]
    Broken {
        /// The host.
        host: String,
        /// How.
        #[source]
        source: Cause,
    },
    /// The server says no.
    #[error("`{address}`: {status} {phrase}{}", .detail.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    Status {
        /// What was asked for.
        address: String,
        /// The HTTP status.
        status: u16,
        /// What it means.
        phrase: &'static str,
        /// What the server says about it.
        detail: Option<String>,
        /// When to come again.
        retry_after: Option<Duration>,
    },
    /// The answer does not end.
    #[error("the answer of `{address}` is longer than {limit} bytes")]
    TooLong {
        /// What was asked for.
        address: String,
        /// The most it may have, in bytes.
        limit: u64,
    },
    /// The answer is not what was asked for.
    #[error("the answer of `{address}` makes no sense: {reason}")]
    Nonsense {
        /// What was asked for.
        address: String,
        /// What is wrong.
        reason: String,
    },
}

impl HttpError {
    /// The HTTP status, if the server gave one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}

impl HttpError {
    /// Whether the server speaks TLS but its certificate is not trusted.
    pub(crate) fn is_distrust(&self) -> bool {
        matches!(self, Self::Tls { source: rustls::Error::InvalidCertificate(_), .. })
    }
}

impl Transient for HttpError {
    fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::TimedOut { .. } | Self::Broken { .. } => true,
            Self::Resolve { source, .. } => matches!(source, ResolveError::NoAnswer(_)),
            Self::Status { status, .. } => *status == 429 || (500..600).contains(status),
            _ => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
