//! Removing files that nothing needs any more.
//!
//! The file of an image that was replaced or deleted stays while a VM was made from it. It is
//! removed as soon as none was: when it is replaced, when the last VM goes, when a daemon starts,
//! or on request. So whatever is killed half-way leaves at most what the next start removes.
//!
//! The directory may be shared with other daemons ([`mark_user`]); while it is, nothing is removed.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use banger_proto::ByteSize;
use banger_proto::api::Pruned;

use super::ImageError;
use super::index::{Index, Locked};
use super::manifest::{EXT4_SUFFIX, MANIFEST_SUFFIX};
use crate::artifact::{self, HALF, observe_other_users};

/// Unit of [`MetadataExt::blocks`], in bytes (stat(2)).
const BLOCK: u64 = 512;

/// Leaves the mark of the daemon with this state directory.
///
/// # Errors
/// When the file system refuses.
pub(super) fn mark_user(index: &Index, state_dir: &Path) -> Result<(), ImageError> {
    let _held = index.lock()?;
    Ok(artifact::mark_user(index.directory(), state_dir)?)
}

/// Removes what neither a manifest names nor a VM uses; `used` are the files that VMs were made
/// from. What cannot be removed is logged and stays.
///
/// # Errors
/// When the index cannot be read; then nothing is removed.
pub(super) fn remove_unused(
    index: &Index,
    _held: &Locked,
    own: &Path,
    used: &[PathBuf],
) -> Result<Pruned, ImageError> {
    let mut pruned = Pruned::default();
    let others = observe_other_users(index.directory(), own)?;
    if let Some(other) = others.first() {
        pruned.notices.push(format!(
            "Files of images are kept: the VMs under `{}` may use them, too.",
            other.display()
        ));
        return Ok(pruned);
    }
    let named: BTreeSet<String> = index
        .load_all()?
        .values()
        .filter_map(|manifest| manifest.managed().map(str::to_owned))
        .collect();
    // By identity: the directory may have been reached by another path when a VM was made.
    let used: BTreeSet<_> = used
        .iter()
        .filter_map(|path| fs_err::metadata(path).ok())
        .map(|data| (data.dev(), data.ino()))
        .collect();
    for entry in fs_err::read_dir(index.directory())? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let data = fs_err::symlink_metadata(entry.path())?;
        let unused = if name.ends_with(EXT4_SUFFIX) {
            !named.contains(name) && !used.contains(&(data.dev(), data.ino()))
        } else {
            // Whoever writes a manifest holds the lock that is held here.
            name.contains(&format!("{MANIFEST_SUFFIX}{HALF}"))
        };
        if !unused || !data.is_file() {
            continue;
        }
        match fs_err::remove_file(entry.path()) {
            Ok(()) => {
                tracing::info!(file = name, "unused file of an image removed");
                pruned.files += 1;
                let bytes = pruned.bytes.bytes() + data.blocks() * BLOCK;
                pruned.bytes = ByteSize::from_bytes(bytes);
            }
            Err(error) => tracing::warn!(%error, "unused file of an image not removed"),
        }
    }
    Ok(pruned)
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::manifest;
    use super::*;

    struct Place {
        dir: tempfile::TempDir,
        index: Index,
        own: PathBuf,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let index = Index::new(dir.path().join("images"));
            let own = dir.path().join("state");
            fs_err::create_dir(&own).unwrap();
            mark_user(&index, &own).unwrap();
            Self { dir, index, own }
        }

        fn publish(&self, name: &str, digest: &str) -> PathBuf {
            let made = self.dir.path().join("made");
            fs_err::write(&made, digest).unwrap();
            let manifest = self.index.publish(Some(&made), manifest(name, digest), true).unwrap();
            manifest.path_in(self.index.directory()).unwrap()
        }

        fn collect(&self, used: &[PathBuf]) -> Pruned {
            let held = self.index.lock().unwrap();
            remove_unused(&self.index, &held, &self.own, used).unwrap()
        }
    }

    const OLD: &str = "0123456789abcdef";
    const NEW: &str = "fedcba9876543210";

    #[test]
    fn what_was_replaced_goes_with_the_last_vm() {
        let place = Place::new();
        let old = place.publish("x", OLD);
        let new = place.publish("x", NEW);
        // By another path: what counts is the file.
        let alias = place.dir.path().join("alias");
        fs_err::os::unix::fs::symlink(place.index.directory(), &alias).unwrap();
        let used = [alias.join(old.file_name().unwrap()), place.dir.path().join("gone.ext4")];
        assert_eq!(place.collect(&used).files, 0);
        assert!(old.is_file());
        let pruned = place.collect(&[]);
        assert_eq!(pruned.files, 1);
        assert!(pruned.bytes.bytes() > 0);
        assert!(!old.exists() && new.is_file());
        assert_eq!(place.collect(&[]), Pruned::default());
    }

    #[test]
    fn a_shared_file_stays_with_its_last_image() {
        let place = Place::new();
        let shared = place.publish("a", OLD);
        assert_eq!(place.publish("b", OLD), shared);
        place.index.remove("a").unwrap();
        assert_eq!(place.collect(&[]).files, 0);
        place.index.remove("b").unwrap();
        assert_eq!(place.collect(&[]).files, 1);
        assert!(!shared.exists());
    }

    #[test]
    fn what_a_kill_leaves_goes_and_nothing_else() {
        let place = Place::new();
        let images = place.index.directory();
        let kept = place.publish("x", OLD);
        // Killed between the file and its manifest, and while writing one.
        fs_err::write(images.join("y-0123.ext4"), "").unwrap();
        fs_err::write(images.join("y.json.half-77"), "{").unwrap();
        fs_err::write(images.join("notes.txt"), "mine").unwrap();
        fs_err::create_dir(images.join("directory.ext4")).unwrap();
        assert_eq!(place.collect(&[]).files, 2);
        assert!(kept.is_file() && images.join("notes.txt").is_file());
        assert!(place.index.load("x").unwrap().is_some());
    }

    #[test]
    fn the_vms_of_other_daemons_are_respected() {
        let place = Place::new();
        let other = place.dir.path().join("other");
        fs_err::create_dir(&other).unwrap();
        mark_user(&place.index, &other).unwrap();
        place.publish("x", OLD);
        place.publish("x", NEW);
        let kept = place.collect(&[]);
        assert_eq!(kept.files, 0);
        assert!(kept.notices[0].contains("/other`"), "{kept:?}");
        fs_err::remove_dir(&other).unwrap();
        assert_eq!(place.collect(&[]).files, 1);
    }

    #[test]
    fn a_manifest_that_cannot_be_read_keeps_everything() {
        let place = Place::new();
        let old = place.publish("x", OLD);
        fs_err::write(place.index.directory().join("x.json"), "{").unwrap();
        let held = place.index.lock().unwrap();
        assert!(remove_unused(&place.index, &held, &place.own, &[]).is_err());
        assert!(old.is_file());
    }
}
