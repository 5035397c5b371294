//! Failures as users see them: with the way out.

use banger_proto::{Code, Problem};

use crate::auth::AuthError;
use crate::download::DownloadError;
use crate::http::{HttpError, SetupError};
use crate::registry::{ManifestError, PullError};
use crate::transfer::{SourceError, TransferError};

impl From<&SetupError> for Problem {
    fn from(error: &SetupError) -> Self {
        let problem = Self::from_error(Code::OperationFailed, error);
        let hint = match error {
            SetupError::Proxy { variable } => {
                format!("correct {variable} where the daemon starts, then restart it")
            }
            SetupError::CaFile { .. } | SetupError::NoCertificate { .. } => {
                "correct SSL_CERT_FILE and SSL_CERT_DIR where the daemon starts, then restart it"
                    .to_owned()
            }
            SetupError::Tls(_) | SetupError::Client(_) => return problem,
        };
        problem.hint(hint)
    }
}

impl From<&PullError> for Problem {
    fn from(error: &PullError) -> Self {
        let code = match error {
            PullError::NotFound { .. } => Code::NotFound,
            PullError::Manifest { .. } => Code::BadRequest,
            _ => Code::OperationFailed,
        };
        let problem = Self::from_error(code, error);
        match error {
            PullError::NotFound { canonical, .. } => {
                problem.hint(format!("look at the spelling; what was asked for is `{canonical}`"))
            }
            PullError::Unauthorized { registry, repository, anonymous, .. } => {
                let problem = match anonymous {
                    true => problem.hint(format!("if `{repository}` is private, log in: docker login {registry}, or podman login {registry}")),
                    false => problem.hint(format!("log in again: docker login {registry}, or podman login {registry}")),
                };
                problem
                    .hint("logins in another file are used with registry_auth_file in config.toml")
                    .hint(format!("registries say the same when `{repository}` does not exist"))
            }
            PullError::Request { source, .. } => add_source_hints(problem, source),
            PullError::Blob { source, .. } => add_transfer_hints(problem, source),
            PullError::Manifest { source, .. } if matches!(**source, ManifestError::Platform(_)) => problem.hint(
                "guests are x86-64 machines: choose a tag or an image that is there for linux/amd64",
            ),
            PullError::Changed { .. } | PullError::Manifest { .. } | PullError::File(_) => problem,
        }
    }
}

impl From<&DownloadError> for Problem {
    fn from(error: &DownloadError) -> Self {
        match error {
            DownloadError::NotFound { .. } => Self::from_error(Code::NotFound, error),
            DownloadError::Transfer { source, .. } => {
                add_transfer_hints(Self::from_error(Code::OperationFailed, error), source)
            }
        }
    }
}

fn add_transfer_hints(problem: Problem, error: &TransferError) -> Problem {
    match error {
        TransferError::Source(error) => add_source_hints(problem, error),
        TransferError::Digest { .. } | TransferError::TooLong { .. } => problem
            .hint("nothing of it was kept; if it happens again, a proxy or mirror alters contents"),
        TransferError::TooShort { .. } | TransferError::File(_) => problem,
    }
}

fn add_source_hints(problem: Problem, error: &SourceError) -> Problem {
    match error {
        SourceError::Http(error) => add_http_hints(problem, error),
        SourceError::Auth(
            AuthError::TokenServer { source, .. } | AuthError::Refused { source, .. },
        ) => add_http_hints(problem, source),
        SourceError::Auth(AuthError::Helper { helper, .. }) => problem.hint(format!(
            "try it: docker-credential-{helper} list; or log in to another file and name it with registry_auth_file in config.toml"
        )),
        SourceError::Auth(_) | SourceError::File(_) => problem,
    }
}

fn add_http_hints(problem: Problem, error: &HttpError) -> Problem {
    match error {
        HttpError::Resolve { host, .. } => problem.hint(format!(
            "look at the spelling of `{host}`, at the connection of this host, and at HTTPS_PROXY where the daemon starts: behind a proxy it has to name that"
        )),
        HttpError::Connect { .. } | HttpError::TimedOut { .. } => problem.hint(
            "look at the connection of this host, and at HTTPS_PROXY where the daemon starts: behind a proxy it has to name that",
        ),
        HttpError::Tls { .. } => problem.hint(
            "where a company's own certificate authority is used, name its file with SSL_CERT_FILE where the daemon starts",
        ),
        HttpError::Broken { .. } => problem.hint("try again: it goes on where it broke"),
        HttpError::Status { status: 429, .. } => problem.hint(
            "the server limits how often it is asked; wait, or log in, which often raises the limit",
        ),
        _ => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_for_other_machines_says_what_can_be_used() {
        let source = ManifestError::Platform(vec!["linux/arm64".into()]);
        let error = PullError::Manifest { image: "alpine".into(), source: Box::new(source) };
        let problem = Problem::from(&error);
        assert_eq!(problem.causes, ["there is no image for linux/amd64, only for linux/arm64"]);
        assert!(problem.hints[0].contains("linux/amd64"), "{problem:?}");
    }
}
