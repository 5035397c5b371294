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

impl NoSpace {
    /// Ways to make room.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        [
            "delete VMs that you do not need: banger vm ls, then banger vm rm",
            "delete what was fetched and is not used: banger image cache prune",
        ]
        .map(str::to_owned)
        .into()
    }
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
    use banger_proto::Problem;

    use super::super::DiskError;
    use super::*;
    use crate::image::ImageError;
    use crate::kernel::KernelError;

    #[test]
    fn whoever_needs_room_says_how_to_make_some() {
        let full = || NoSpace {
            place: "/data".into(),
            needed: ByteSize::from_mib(2),
            free: ByteSize::from_mib(1),
        };
        let name = || "debian".to_owned();
        for problem in [
            Problem::from(DiskError::Space { path: "/disk".into(), source: full() }),
            ImageError::Space { name: name(), source: full() }.into(),
            KernelError::Space { name: name(), source: full() }.into(),
        ] {
            assert_eq!(problem.causes, ["no space: needs 2 MiB, `/data` has 1 MiB"]);
            assert_eq!(problem.hints, full().hints());
        }
    }

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
