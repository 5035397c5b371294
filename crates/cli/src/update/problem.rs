//! What a person can do about an update that failed. Whatever it was, the release in use still is.

use banger_proto::{Code, Problem};
use banger_release::ReleaseError;

use crate::errors::CliError;

impl From<ReleaseError> for CliError {
    fn from(error: ReleaseError) -> Self {
        let hint = match &error {
            ReleaseError::Older { .. } => "to go back to it all the same: --force",
            ReleaseError::NoSuchRelease(_) => "which is the newest: banger update --check",
            ReleaseError::Schema(_) => "install it anew with its installer, `install.sh`",
            ReleaseError::Busy(_) => "wait for it; one that was killed holds nothing",
            ReleaseError::NotAllowed { .. } => {
                "it belongs to somebody else, root mostly: sudo banger update"
            }
            ReleaseError::Signature
            | ReleaseError::Unsigned { .. }
            | ReleaseError::NotSigned { .. }
            | ReleaseError::Changed(_) => {
                "nothing was installed; tell the makers of banger if it stays so"
            }
            _ => "nothing was changed: the release in use is as it was",
        };
        let problem = Problem::from_error(Code::OperationFailed, &error);
        Self::from(problem).hint(hint)
    }
}
