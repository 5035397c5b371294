//! Who we are to a registry: what the user's login left in files and credential helpers
//! ([`files`], [`helper`]), and how a registry wants to be told ([`challenge`], [`session`]).
//! Secrets stay inside: none is in an error, a log line or a `Debug` text.

mod challenge;
mod files;
mod helper;
mod session;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use files::AuthFiles;
pub use helper::{Helper, HelperReply, NoHelpers};
pub(crate) use session::Session;

use crate::http::HttpError;
use crate::http::retry::Transient;

/// What nobody but a registry should see.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret, for the one place that sends it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// What a user has for a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    /// Nothing.
    Anonymous,
    /// A name and a password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// What a token server gives tokens for (an OAuth 2 refresh token).
    Identity(Secret),
    /// A token that the registry takes as it is.
    Token(Secret),
}

/// Why it cannot be told who we are.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// A file of logins cannot be read; the text says which.
    #[error(transparent)]
    File(std::io::Error),
    /// A file of logins has another form. What it has is not shown.
    #[error("`{path}` is not a file of registry logins (line {line}, column {column})")]
    Form {
        /// The file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// Where in the line, from 1.
        column: usize,
    },
    /// The login of a registry has another form.
    #[error("the login for `{registry}` in `{path}` is not readable")]
    Entry {
        /// The file.
        path: PathBuf,
        /// The registry.
        registry: String,
    },
    /// A credential helper failed.
    #[error(
        "credential helper `docker-credential-{helper}` has no answer for `{registry}`: {reason}"
    )]
    Helper {
        /// Its name without `docker-credential-`.
        helper: String,
        /// The registry.
        registry: String,
        /// What is wrong.
        reason: String,
    },
    /// A credential helper's name would start another program.
    #[error("`{path}` names the credential helper `{helper}`, which is no name of a program")]
    HelperName {
        /// The file.
        path: PathBuf,
        /// The name.
        helper: String,
    },
    /// The registry wants something unknown.
    #[error("registry `{registry}` asks for a login in a way that is not known: {reason}")]
    Challenge {
        /// The registry.
        registry: String,
        /// What is wrong.
        reason: String,
    },
    /// The token server of a registry refuses the user or anonymous access.
    #[error("registry `{registry}` gives no access")]
    Refused {
        /// The registry.
        registry: String,
        /// What its token server says.
        #[source]
        source: Box<HttpError>,
    },
    /// The token server of a registry cannot be asked.
    #[error("cannot ask for access to registry `{registry}`")]
    TokenServer {
        /// The registry.
        registry: String,
        /// Why.
        #[source]
        source: Box<HttpError>,
    },
}

impl Transient for AuthError {
    fn is_transient(&self) -> bool {
        matches!(self, Self::TokenServer { source, .. } if source.is_transient())
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TokenServer { source, .. } => source.retry_after(),
            _ => None,
        }
    }
}
