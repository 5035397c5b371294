//! The images that are here: one manifest each, beside its ext4 file.
//!
//! ```text
//! <images>/STEM.json              the manifest; it carries the name (see `manifest.rs`)
//! <images>/STEM-DIGEST.ext4       the file; two images with the same contents share one
//! <images>/.lock                  held while any of these change
//! ```
//!
//! Files are never changed in place: a new version is a new file, and VMs keep the one they were
//! made from. What no manifest names any more is removed by `collect.rs`.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use banger_proto::ImageName;
use rustix::fs::{FlockOperation, flock};

use super::ImageError;
use super::manifest::{Location, MANIFEST_SUFFIX, Manifest, file_stem};
use crate::artifact::save_atomically;
use crate::private;

/// Name of the file that is locked while the index changes.
const LOCK: &str = ".lock";

/// The directory of images.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    directory: PathBuf,
}

/// Held by whoever changes the index: daemons with state directories of their own may share it.
#[derive(Debug)]
pub(super) struct Locked {
    _lock: File,
}

impl Index {
    /// The index in `directory`, which is made when something is put there.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Where it is.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// All manifests by name, those without a file of ours left out.
    ///
    /// # Errors
    /// When the directory or a manifest cannot be read.
    pub(super) fn load_all(&self) -> Result<BTreeMap<String, Manifest>, ImageError> {
        let mut found = BTreeMap::new();
        let entries = match fs_err::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            let file = path.file_name().and_then(|name| name.to_str());
            let Some(stem) = file.and_then(|name| name.strip_suffix(MANIFEST_SUFFIX)) else {
                continue;
            };
            if let Some(manifest) = Manifest::load(&path)?
                && manifest.name.parse().is_ok_and(|name| file_stem(&name) == stem)
                && self.has_file(&manifest)
            {
                found.insert(manifest.name.clone(), manifest);
            }
        }
        Ok(found)
    }

    /// The manifest of the image that `name` means: the one of this name, else one of a name
    /// that means the same. `None` when there is none, or its file of ours is gone.
    ///
    /// # Errors
    /// When the manifest cannot be read.
    pub(super) fn load(&self, name: &str) -> Result<Option<Manifest>, ImageError> {
        let Ok(name) = name.parse::<ImageName>() else { return Ok(None) };
        for alias in name.aliases() {
            if let Some(manifest) = self.load_exactly(&alias)? {
                return Ok(Some(manifest));
            }
        }
        Ok(None)
    }

    fn load_exactly(&self, name: &ImageName) -> Result<Option<Manifest>, ImageError> {
        let manifest = Manifest::load(&self.manifest_path(name))?;
        Ok(manifest.filter(|found| found.name == name.as_str() && self.has_file(found)))
    }

    /// Waits until nobody else changes the index, and keeps everybody from it until dropped. All
    /// holders are brief: what takes long is done before.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(super) fn lock(&self) -> io::Result<Locked> {
        private::ensure_dir(&self.directory)?;
        let mut options = File::options();
        options.create(true).truncate(false).write(true);
        let file = fs_err::OpenOptions::from_options(options).open(self.directory.join(LOCK))?;
        let file = file.into_file();
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(Locked { _lock: file })
    }

    /// Takes the finished ext4 file `made`, which must be on the file system of the index, into
    /// it; none for a registered image. From one moment to the next the image is there, also after
    /// a power cut. The manifest is given back as it was written.
    ///
    /// # Errors
    /// When the name is taken and is not to be replaced, or the file system refuses; then the
    /// index is as it was.
    pub(super) fn publish(
        &self,
        made: Option<&Path>,
        mut manifest: Manifest,
        replace: bool,
    ) -> Result<Manifest, ImageError> {
        let name: ImageName = manifest.name.parse()?;
        if let Some(made) = made {
            let file = fs_err::File::open(made)?;
            file.set_permissions(Permissions::from_mode(0o444))?;
            file.sync_all()?;
        }
        let _held = self.lock()?;
        self.check_free(&name, replace)?;
        if let Some(made) = made {
            self.place(made, &mut manifest)?;
        }
        let path = self.manifest_path(&name);
        let text = serde_json::to_vec_pretty(&manifest)
            .map_err(|source| ImageError::Manifest { path: path.clone(), source })?;
        save_atomically(&path, &text)?;
        Ok(manifest)
    }

    /// Whether an image of this name may be published.
    ///
    /// # Errors
    /// When the name is taken and is not to be replaced.
    pub(super) fn check_free(&self, name: &ImageName, replace: bool) -> Result<(), ImageError> {
        // Two names may share a file name, which is as unlikely as it must not do harm.
        match Manifest::load(&self.manifest_path(name)) {
            Ok(Some(other)) if other.name != name.as_str() => Err(ImageError::Exists(other.name)),
            Ok(Some(other)) if !replace && self.has_file(&other) => {
                Err(ImageError::Exists(other.name))
            }
            // A broken manifest can be replaced like any other.
            Err(error) if !replace => Err(error),
            _ => Ok(()),
        }
    }

    /// Moves `made` to its place, or leaves it where it is when its contents are here.
    fn place(&self, made: &Path, manifest: &mut Manifest) -> Result<(), ImageError> {
        // A broken manifest of another image is not this one's failure.
        let all = self.load_all().unwrap_or_default();
        let shares =
            |other: &&Manifest| other.digest == manifest.digest && other.managed().is_some();
        if let Some(same) = all.values().find(shares) {
            manifest.location = same.location.clone();
            return Ok(());
        }
        if let Location::Managed { file } = &manifest.location {
            let target = self.directory.join(file);
            // The same bytes under the same name: VMs may be reading them, so they stay.
            if !target.is_file() {
                fs_err::rename(made, &target)?;
            }
        }
        Ok(())
    }

    /// Takes the image `name`, exactly, out of the index. Its file stays.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(super) fn remove(&self, name: &str) -> Result<(), ImageError> {
        let name: ImageName = name.parse()?;
        let _held = self.lock()?;
        fs_err::remove_file(self.manifest_path(&name))?;
        Ok(fs_err::File::open(&self.directory)?.sync_all()?)
    }

    fn manifest_path(&self, name: &ImageName) -> PathBuf {
        self.directory.join(format!("{}{MANIFEST_SUFFIX}", file_stem(name)))
    }

    /// Whether the file is there, as far as it is ours to keep.
    fn has_file(&self, manifest: &Manifest) -> bool {
        match (&manifest.location, manifest.path_in(&self.directory)) {
            (Location::Registered { .. }, _) => true,
            (Location::Managed { .. }, path) => path.is_some_and(|path| path.is_file()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::manifest;
    use super::*;

    fn publish(
        index: &Index,
        name: &str,
        digest: &str,
        replace: bool,
    ) -> Result<Manifest, ImageError> {
        let made = index.directory.join("made");
        fs_err::write(&made, digest).unwrap();
        index.publish(Some(&made), manifest(name, digest), replace)
    }

    #[test]
    fn what_is_published_is_found_and_older_files_stay() {
        let place = tempfile::tempdir().unwrap();
        let index = Index::new(place.path().to_owned());
        for digest in ["0123456789abcdef", "fedcba9876543210"] {
            publish(&index, "x", digest, true).unwrap();
            assert_eq!(index.load("x").unwrap(), Some(manifest("x", digest)));
        }
        assert!(place.path().join("x-0123456789ab.ext4").is_file());
        assert!(place.path().join("x-fedcba987654.ext4").is_file());
        assert_eq!(index.load_all().unwrap().len(), 1);
        let taken = publish(&index, "x", "00", false).unwrap_err();
        assert!(matches!(taken, ImageError::Exists(name) if name == "x"));
        index.remove("x").unwrap();
        assert_eq!(index.load("x").unwrap(), None);
        assert!(index.remove("x").is_err());
    }

    #[test]
    fn references_are_found_with_and_without_their_tag() {
        let place = tempfile::tempdir().unwrap();
        let index = Index::new(place.path().to_owned());
        publish(&index, "alpine:latest", "0123456789abcdef", false).unwrap();
        let name = |asked: &str| index.load(asked).unwrap().map(|manifest| manifest.name);
        assert_eq!(name("alpine").as_deref(), Some("alpine:latest"));
        assert_eq!(name("alpine:latest").as_deref(), Some("alpine:latest"));
        assert_eq!(name("alpine:3"), None);
        publish(&index, "alpine", "fedcba9876543210", false).unwrap();
        assert_eq!(name("alpine").as_deref(), Some("alpine"));
        assert_eq!(index.load_all().unwrap().len(), 2);
    }

    #[test]
    fn images_with_the_same_contents_share_a_file() {
        let place = tempfile::tempdir().unwrap();
        let index = Index::new(place.path().to_owned());
        let first = publish(&index, "a", "0123456789abcdef", false).unwrap();
        let second = publish(&index, "b", "0123456789abcdef", false).unwrap();
        assert_eq!(first.location, second.location);
        assert!(!place.path().join("b-0123456789ab.ext4").exists());
        assert_eq!(index.load("b").unwrap(), Some(second));
    }

    #[test]
    fn names_and_files_outside_are_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let index = Index::new(place.path().join("images"));
        fs_err::create_dir(&index.directory).unwrap();
        fs_err::write(place.path().join("secret"), "").unwrap();
        assert_eq!(index.load("../secret").unwrap(), None);
        let outside = Manifest {
            location: Location::Managed { file: "../secret".into() },
            ..manifest("x", "0")
        };
        let text = serde_json::to_vec(&outside).unwrap();
        fs_err::write(index.directory.join("x.json"), text).unwrap();
        assert_eq!(index.load("x").unwrap(), None);
        assert!(index.load_all().unwrap().is_empty());
    }

    #[test]
    fn a_broken_manifest_is_named_and_can_be_replaced() {
        let place = tempfile::tempdir().unwrap();
        let index = Index::new(place.path().to_owned());
        fs_err::write(place.path().join("x.json"), "{").unwrap();
        let error = index.load_all().unwrap_err().to_string();
        assert!(error.ends_with("x.json`"), "{error}");
        assert!(publish(&index, "x", "00", false).is_err());
        publish(&index, "x", "00", true).unwrap();
        assert_eq!(index.load("x").unwrap(), Some(manifest("x", "00")));
        let nowhere = Index::new(place.path().join("nope"));
        assert!(nowhere.load_all().unwrap().is_empty());
    }
}
