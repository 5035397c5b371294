//! Removing the versions of kernels that nothing needs any more.
//!
//! A version that lost its name stays while a VM was made with it. It goes as soon as none was: when
//! its name gets another version or is deleted, when a VM goes, and when a daemon starts. So whatever
//! is killed half-way leaves at most what the next start removes.
//!
//! The directory may be shared with other daemons ([`mark_user`]); while it is, nothing is removed.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::index::{Locked, VERSIONS, read_pointer, remove_files};
use crate::artifact::{self, observe_other_users};

/// The kernels that VMs use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct InUse {
    /// Directories of the kernels that VMs were made with.
    pub(crate) directories: BTreeSet<PathBuf>,
    /// Names of the kernels of VMs that are still being made: any version of it may be theirs.
    pub(crate) names: BTreeSet<String>,
    /// Not all of them are known: any may be in use.
    pub(crate) unknown: bool,
}

impl InUse {
    fn needs(&self, version: &Path) -> bool {
        let name = version.file_name().and_then(OsStr::to_str);
        let name = name.and_then(|name| name.rsplit_once('-')).map(|(name, _)| name);
        self.unknown
            || self.directories.contains(version)
            || name.is_some_and(|name| self.names.contains(name))
    }
}

/// Leaves the mark of the daemon with this state directory.
///
/// # Errors
/// When the file system refuses.
pub(super) fn mark_user(kernels: &Path, _held: &Locked, state_dir: &Path) -> io::Result<()> {
    artifact::mark_user(kernels, state_dir)
}

/// Removes the versions that neither a name nor a VM needs. What cannot be removed is logged and
/// stays.
///
/// # Errors
/// When what is here cannot be read; then nothing is removed.
pub(super) fn remove_unused(
    kernels: &Path,
    _held: &Locked,
    own: &Path,
    in_use: &InUse,
) -> io::Result<()> {
    if !observe_other_users(kernels, own)?.is_empty() {
        return Ok(());
    }
    let mut named = BTreeSet::new();
    for entry in entries(kernels)? {
        if let Some(name) = entry.file_name().and_then(OsStr::to_str) {
            named.extend(read_pointer(kernels, name)?);
        }
    }
    for version in entries(&kernels.join(VERSIONS))? {
        if named.contains(&version) || in_use.needs(&version) {
            continue;
        }
        match remove_files(&version) {
            Ok(()) => tracing::info!(path = %version.display(), "unused kernel removed"),
            Err(error) => {
                tracing::warn!(path = %version.display(), %error, "unused kernel not removed");
            }
        }
    }
    Ok(())
}

/// Paths of what is in a directory, which may be missing.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match fs_err::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.path())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::index::lock;
    use crate::kernel::index::tests::publish_one;

    fn collect(kernels: &Path, in_use: &InUse) {
        remove_unused(kernels, &lock(kernels).unwrap(), Path::new("/own"), in_use).unwrap();
    }

    #[test]
    fn only_what_nothing_needs_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let kernels = place.path();
        let [first, second, third] = ["1", "2", "3"].map(|v| publish_one(kernels, "k", v));
        let other = publish_one(kernels, "k-other", "1");
        let in_use =
            InUse { directories: [first.clone()].into(), names: BTreeSet::new(), unknown: false };
        collect(kernels, &in_use);
        let there = [&first, &second, &third, &other].map(|version| version.is_dir());
        assert_eq!(there, [true, false, true, true]);
        collect(kernels, &InUse::default());
        assert!(!first.exists() && third.is_dir() && other.is_dir());
    }

    #[test]
    fn what_a_vm_that_is_being_made_may_use_stays() {
        let place = tempfile::tempdir().unwrap();
        let kernels = place.path();
        let [first, _] = ["1", "2"].map(|version| publish_one(kernels, "k", version));
        let in_use =
            InUse { directories: BTreeSet::new(), names: ["k".to_owned()].into(), unknown: false };
        collect(kernels, &in_use);
        assert!(first.is_dir());
        let in_use = InUse {
            directories: BTreeSet::new(),
            names: ["k-o".to_owned()].into(),
            unknown: false,
        };
        collect(kernels, &in_use);
        assert!(!first.exists());
    }

    #[test]
    fn what_others_may_use_stays_until_they_are_gone() {
        let place = tempfile::tempdir().unwrap();
        let kernels = place.path().join("kernels");
        let [first, _] = ["1", "2"].map(|version| publish_one(&kernels, "k", version));
        let other = place.path().join("other");
        fs_err::create_dir(&other).unwrap();
        for state_dir in [Path::new("/own"), &other] {
            mark_user(&kernels, &lock(&kernels).unwrap(), state_dir).unwrap();
        }
        collect(&kernels, &InUse::default());
        assert!(first.is_dir());
        fs_err::remove_dir(&other).unwrap();
        collect(&kernels, &InUse::default());
        assert!(!first.exists());
    }

    #[test]
    fn files_that_nobody_knows_keep_their_directory() {
        let place = tempfile::tempdir().unwrap();
        let kernels = place.path();
        let [first, _] = ["1", "2"].map(|version| publish_one(kernels, "k", version));
        fs_err::write(first.join("notes"), "mine").unwrap();
        collect(kernels, &InUse::default());
        assert!(first.join("notes").is_file());
    }
}
