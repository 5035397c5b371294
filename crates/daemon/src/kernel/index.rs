//! The kernels that are here: one directory each.
//!
//! `<kernels>/<name>/` has `vmlinux` (ELF), `manifest.json` and, for a kernel that needs them,
//! `modules.cpio`. A directory put there by hand in this form is a kernel like any other.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use banger_proto::ByteSize;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};

use super::KernelError;
use super::features::Features;
use banger_proto::image_name::is_plain_name;

/// The ELF kernel.
pub(crate) const VMLINUX: &str = "vmlinux";
/// The part of the initramfs with its modules.
pub(crate) const MODULES: &str = "modules.cpio";
/// What is written about it.
pub(crate) const MANIFEST: &str = "manifest.json";

/// What is written about a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// One line about it.
    #[serde(default)]
    pub(crate) description: String,
    /// Distribution it comes from.
    #[serde(default)]
    pub(crate) distro: String,
    /// Architecture as the distribution calls it.
    #[serde(default)]
    pub(crate) arch: String,
    /// Version, as `uname -r` gives it.
    pub(crate) version: String,
    /// Options of its configuration; absent when nobody looked.
    #[serde(default)]
    pub(crate) features: Features,
}

/// A kernel directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Local {
    pub(crate) directory: PathBuf,
    pub(crate) manifest: Manifest,
    /// Whether it comes with modules.
    pub(crate) modules: bool,
    /// Bytes of its files.
    pub(crate) size: ByteSize,
}

/// All kernels by name.
///
/// # Errors
/// When the directory or a manifest cannot be read.
pub(crate) fn load_all(kernels: &Path) -> Result<BTreeMap<String, Local>, KernelError> {
    let mut found = BTreeMap::new();
    let entries = match fs_err::read_dir(kernels) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        if let Some(name) = name.to_str()
            && let Some(local) = load(kernels, name)?
        {
            found.insert(name.to_owned(), local);
        }
    }
    Ok(found)
}

/// The kernel `name`; `None` when there is none, or not all of it.
///
/// # Errors
/// When its manifest cannot be read.
pub(crate) fn load(kernels: &Path, name: &str) -> Result<Option<Local>, KernelError> {
    if !is_plain_name(name) {
        return Ok(None);
    }
    let directory = kernels.join(name);
    let path = directory.join(MANIFEST);
    let text = match fs_err::read(&path) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        text => text?,
    };
    let manifest =
        serde_json::from_slice(&text).map_err(|source| KernelError::Manifest { path, source })?;
    let size = |file: &str| fs_err::metadata(directory.join(file)).ok().map(|data| data.size());
    let (vmlinux, modules) = (size(VMLINUX), size(MODULES));
    Ok(vmlinux.map(|vmlinux| Local {
        manifest,
        modules: modules.is_some(),
        size: ByteSize::from_bytes(vmlinux + modules.unwrap_or(0)),
        directory,
    }))
}

/// Puts the finished directory `made`, which must be on the file system of `kernels`, in its
/// place. What was there is in `made` afterwards.
///
/// # Errors
/// When the file system refuses; then all is as it was.
pub(crate) fn publish(kernels: &Path, name: &str, made: &Path) -> io::Result<()> {
    for file in fs_err::read_dir(made)? {
        fs_err::File::open(file?.path())?.sync_all()?;
    }
    fs_err::File::open(made)?.sync_all()?;
    let target = kernels.join(name);
    // Only one of the two can be: nothing is there yet, or something that is swapped out.
    match renameat_with(CWD, made, CWD, &target, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::EXIST) => {
            renameat_with(CWD, made, CWD, &target, RenameFlags::EXCHANGE)
        }
        renamed => renamed,
    }
    .map_err(|error| {
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("cannot move to `{}`: {error}", target.display()))
    })?;
    fs_err::File::open(kernels)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(directory: &Path, version: &str) {
        fs_err::create_dir_all(directory).unwrap();
        fs_err::write(directory.join(VMLINUX), "ELF").unwrap();
        let manifest = format!(r#"{{"version":"{version}"}}"#);
        fs_err::write(directory.join(MANIFEST), manifest).unwrap();
    }

    #[test]
    fn a_directory_placed_by_hand_is_a_kernel() {
        let place = tempfile::tempdir().unwrap();
        make(&place.path().join("own"), "6.12");
        fs_err::create_dir(place.path().join("half")).unwrap();
        fs_err::write(place.path().join("stray"), "").unwrap();
        let all = load_all(place.path()).unwrap();
        assert_eq!(all.keys().collect::<Vec<_>>(), ["own"]);
        assert_eq!((all["own"].manifest.version.as_str(), all["own"].modules), ("6.12", false));
        assert_eq!(load(place.path(), "../own").unwrap(), None);
    }

    #[test]
    fn publishing_swaps_whole_directories() {
        let place = tempfile::tempdir().unwrap();
        let version =
            || load(place.path(), "k").unwrap().map(|local| local.manifest.version.clone());
        for wanted in ["1", "2"] {
            let made = place.path().join(".work");
            make(&made, wanted);
            publish(place.path(), "k", &made).unwrap();
            assert_eq!(version().as_deref(), Some(wanted));
        }
    }
}
