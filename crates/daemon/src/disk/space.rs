//! Whether there is room on a file system.

use std::io;
use std::path::{Path, PathBuf};

use banger_proto::ByteSize;

/// Too little room.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no space: needs {}, `{place}` has {}", .needed.human(), .free.human())]
pub struct NoSpace {
    /// The directory that was asked about.
    pub place: PathBuf,
    /// What is needed.
    pub needed: ByteSize,
    /// What there is.
    pub free: ByteSize,
}

/// Checks that the file system of the directory `place` has room for `needed` that this user
/// may take.
///
/// # Errors
/// The outer error when the file system does not answer, the inner when it has less.
pub fn check_space(place: &Path, needed: ByteSize) -> io::Result<Result<(), NoSpace>> {
    let stat = rustix::fs::statvfs(place).map_err(|error| {
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("cannot look at `{}`: {error}", place.display()))
    })?;
    let free = ByteSize::from_bytes(stat.f_bavail.saturating_mul(stat.f_frsize));
    Ok(if free < needed { Err(NoSpace { place: place.to_owned(), needed, free }) } else { Ok(()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_needed_and_what_there_is() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(check_space(place.path(), ByteSize::from_bytes(1)).unwrap(), Ok(()));
        let refused = check_space(place.path(), "1000000T".parse().unwrap()).unwrap();
        let text = refused.unwrap_err().to_string();
        assert!(text.starts_with("no space: needs 1000000 TiB, `/"), "{text}");
        assert!(check_space(&place.path().join("nope"), ByteSize::default()).is_err());
    }
}
