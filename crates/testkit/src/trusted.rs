//! A directory for keys that an SSH server believes: below one that others may write to, as
//! `/tmp` is, it rightly trusts none (sshd_config(5), `StrictModes`).

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A fresh directory in `preferred`, or else in the home, that nobody else may change.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn trusted_dir(preferred: &str) -> TempDir {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let mut places = [Some(PathBuf::from(preferred)), home].into_iter().flatten();
    let place = places.find(|place| place.ancestors().all(is_ours_alone));
    let place = place.expect("a directory that nobody else may change");
    tempfile::Builder::new().prefix(".banger-test-").tempdir_in(place).expect("a directory")
}

fn is_ours_alone(directory: &Path) -> bool {
    // Root's, or of whoever runs the tests.
    let own = std::fs::metadata("/proc/self").map(|own| own.uid()).unwrap_or_default();
    std::fs::metadata(directory)
        .is_ok_and(|found| found.mode() & 0o022 == 0 && (found.uid() == 0 || found.uid() == own))
}
