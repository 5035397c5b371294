//! The images that are here: one manifest each, beside its ext4 file.
//!
//! `<images>/<name>.json` names the file `<name>-<12 digits of its digest>.ext4`. Files are never
//! changed in place: a new version is a new file, and VMs keep the one they were made from.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use banger_proto::ByteSize;
use banger_proto::api::RunConfig;
use serde::{Deserialize, Serialize};

use super::ImageError;
use super::catalog::is_name;

/// Ending of manifests.
const MANIFEST_SUFFIX: &str = ".json";
/// Digits of the digest in an image's file name.
const SHORT_DIGEST: usize = 12;

/// What is written about an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Name; also that of the manifest.
    pub(crate) name: String,
    /// One line about it.
    pub(crate) description: String,
    /// Distribution.
    pub(crate) distro: String,
    /// Architecture as the distribution calls it.
    pub(crate) arch: String,
    /// What the image is made of and how, as a SHA-256, hexadecimal.
    pub(crate) digest: String,
    /// Name of the ext4 file, in the manifest's directory.
    pub(crate) file: String,
    /// Length of the file in bytes.
    pub(crate) size: ByteSize,
    /// When it was made, RFC 3339.
    pub(crate) created_at: String,
    /// Kernel it wants; absent for the default one.
    #[serde(default)]
    pub(crate) kernel_ref: Option<String>,
    /// What it was made of.
    #[serde(default)]
    pub(crate) source: String,
    /// What it says about running it.
    #[serde(default)]
    pub(crate) run: RunConfig,
}

/// Name of an image's file.
pub(crate) fn file_name(name: &str, digest: &str) -> String {
    format!("{name}-{}.ext4", digest.get(..SHORT_DIGEST).unwrap_or(digest))
}

/// All manifests by name, those without a file left out.
///
/// # Errors
/// When the directory or a manifest cannot be read.
pub(crate) fn load_all(images: &Path) -> Result<BTreeMap<String, Manifest>, ImageError> {
    let mut found = BTreeMap::new();
    let entries = match fs_err::read_dir(images) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        if let Some(name) = name.to_str().and_then(|name| name.strip_suffix(MANIFEST_SUFFIX))
            && let Some(manifest) = load(images, name)?
        {
            found.insert(manifest.name.clone(), manifest);
        }
    }
    Ok(found)
}

/// The manifest of `name`; `None` when there is none or its file is gone.
///
/// # Errors
/// When the manifest cannot be read.
pub(crate) fn load(images: &Path, name: &str) -> Result<Option<Manifest>, ImageError> {
    if !is_name(name) {
        return Ok(None);
    }
    let path = images.join(format!("{name}{MANIFEST_SUFFIX}"));
    let text = match fs_err::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|source| ImageError::Manifest { path, source })?;
    let here = Path::new(&manifest.file).file_name() == Some(manifest.file.as_ref())
        && manifest.name == name
        && images.join(&manifest.file).is_file();
    Ok(here.then_some(manifest))
}

/// Takes the finished ext4 file `made`, which must be on the file system of `images`, into the
/// index. From one moment to the next the image is there, also after a power cut.
///
/// # Errors
/// When the file system refuses; then the index is as it was.
pub(crate) fn publish(images: &Path, made: &Path, manifest: &Manifest) -> Result<(), ImageError> {
    let target = images.join(&manifest.file);
    // The same bytes under the same name: VMs may be reading them, so they stay.
    if !target.is_file() {
        let file = fs_err::File::open(made)?;
        file.set_permissions(Permissions::from_mode(0o444))?;
        file.sync_all()?;
        fs_err::rename(made, &target)?;
    }
    let path = images.join(format!("{}{MANIFEST_SUFFIX}", manifest.name));
    let text = serde_json::to_vec_pretty(manifest)
        .map_err(|source| ImageError::Manifest { path: path.clone(), source })?;
    save_atomically(&path, &text)?;
    Ok(())
}

/// Takes the image `name` out of the index and removes its file, unless another image has the
/// same one.
///
/// # Errors
/// When there is no such image, or the file system refuses.
pub(crate) fn remove(images: &Path, name: &str) -> Result<(), ImageError> {
    let manifest = load(images, name)?.ok_or_else(|| ImageError::NotHere(name.to_owned()))?;
    fs_err::remove_file(images.join(format!("{name}{MANIFEST_SUFFIX}")))?;
    if load_all(images)?.values().all(|other| other.file != manifest.file) {
        fs_err::remove_file(images.join(&manifest.file))?;
    }
    Ok(())
}

/// Replaces the file `path` by one with `contents`, or leaves it as it is.
pub(crate) fn save_atomically(path: &Path, contents: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut half = path.as_os_str().to_owned();
    // Daemons with state directories of their own may share this one.
    half.push(format!(".half-{}", std::process::id()));
    let half = PathBuf::from(half);
    let mut file = fs_err::File::create(&half)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs_err::rename(&half, path)?;
    fs_err::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, digest: &str) -> Manifest {
        Manifest {
            name: name.into(),
            description: "one".into(),
            distro: "debian".into(),
            arch: "amd64".into(),
            digest: digest.into(),
            file: file_name(name, digest),
            size: ByteSize::from_bytes(1),
            created_at: "2026-01-01T00:00:00Z".into(),
            kernel_ref: None,
            source: "a test".into(),
            run: RunConfig::default(),
        }
    }

    #[test]
    fn what_is_published_is_found_and_older_files_stay() {
        let place = tempfile::tempdir().unwrap();
        let images = place.path();
        let made = images.join("made");
        for digest in ["0123456789abcdef", "fedcba9876543210"] {
            fs_err::write(&made, digest).unwrap();
            publish(images, &made, &manifest("x", digest)).unwrap();
            assert_eq!(load(images, "x").unwrap(), Some(manifest("x", digest)));
        }
        assert!(images.join("x-0123456789ab.ext4").is_file());
        assert!(images.join("x-fedcba987654.ext4").is_file());
        assert_eq!(load_all(images).unwrap().len(), 1);
        remove(images, "x").unwrap();
        assert!(!images.join("x-fedcba987654.ext4").exists());
        assert_eq!(load(images, "x").unwrap(), None);
        assert!(matches!(remove(images, "x"), Err(ImageError::NotHere(_))));
    }

    #[test]
    fn names_and_files_outside_are_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let images = place.path().join("images");
        fs_err::create_dir(&images).unwrap();
        fs_err::write(place.path().join("secret"), "").unwrap();
        assert_eq!(load(&images, "../secret").unwrap(), None);
        let outside = Manifest { file: "../secret".into(), ..manifest("x", "0") };
        fs_err::write(images.join("x.json"), serde_json::to_vec(&outside).unwrap()).unwrap();
        assert_eq!(load(&images, "x").unwrap(), None);
    }

    #[test]
    fn a_broken_manifest_is_named() {
        let place = tempfile::tempdir().unwrap();
        fs_err::write(place.path().join("x.json"), "{").unwrap();
        let error = load_all(place.path()).unwrap_err().to_string();
        assert!(error.ends_with("x.json`"), "{error}");
        assert!(load_all(&place.path().join("nope")).unwrap().is_empty());
    }
}
