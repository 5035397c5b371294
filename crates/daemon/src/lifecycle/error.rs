//! Why the daemon did not start, and the way out: whoever started it is told, on its first line.

use banger_proto::{Code, Problem};

use super::{DirectoryError, ListenError, LockError};
use crate::config::ConfigError;
use crate::store::StoreError;

/// Why the daemon did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// There is no place for its files.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Its log cannot be written.
    #[error("cannot write the log")]
    Log(#[source] std::io::Error),
    /// Another daemon runs.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database is of no use.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The socket cannot be made.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The socket failed while in use.
    #[error("the socket failed")]
    Serve(#[source] std::io::Error),
    /// The runtime cannot be made.
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
}

impl From<LifecycleError> for Problem {
    fn from(error: LifecycleError) -> Self {
        match error {
            LifecycleError::Lock(error) => error.into(),
            LifecycleError::Store(error) => error.into(),
            LifecycleError::Directory(ref source) => {
                let hint = source.hint();
                Self::from_error(Code::OperationFailed, &error).hint(hint)
            }
            LifecycleError::Config(_) => Self::from_error(Code::OperationFailed, &error)
                .hint("correct the file, or move it away: without one everything has its default"),
            LifecycleError::Listen(ListenError::InUse(_)) => {
                Self::from_error(Code::OperationFailed, &error)
                    .hint("end that one first: banger daemon stop")
            }
            error => Self::from_error(Code::OperationFailed, &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::*;
    use crate::config::parse_config;

    #[test]
    fn what_a_user_can_mend_says_how() {
        let place = || "/place".into();
        let wrong = |text| parse_config(text, Path::new("config.toml")).unwrap_err();
        let entry = ConfigError::Entry {
            path: place(),
            list: "file_sync",
            number: 1,
            key: "host",
            message: "it is empty".to_owned(),
        };
        let failures: [LifecycleError; 8] = [
            DirectoryError::Io(io::ErrorKind::PermissionDenied.into()).into(),
            DirectoryError::NotDirectory(place()).into(),
            DirectoryError::Owner { path: place(), owner: 0, uid: 1000 }.into(),
            DirectoryError::Mode { path: place(), mode: 0o755 }.into(),
            LockError::Starting(place()).into(),
            wrong("ready_timeout = \"soon\"").into(),
            entry.into(),
            ListenError::InUse(place()).into(),
        ];
        for error in failures {
            let problem = Problem::from(error);
            assert!(!problem.hints.is_empty(), "{problem:?}");
        }
        let owner = DirectoryError::Owner { path: place(), owner: 0, uid: 1000 };
        assert_eq!(owner.to_string(), "directory `/place` belongs to user 0, not to 1000");
        let config = Problem::from(LifecycleError::from(wrong("\nready_timeout = \"soon\"")));
        let told = "configuration `config.toml`, line 2, key `ready_timeout`: ";
        assert!(config.message.starts_with(told), "{config:?}");
    }
}
