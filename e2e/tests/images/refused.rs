//! A registry that serves something else than it says: refused by name, and nothing is left.

use std::fs;
use std::path::{Path, PathBuf};

use banger_e2e::{Home, Registry, Sample, files, oci};
use tempfile::TempDir;

/// A storage with nothing but `sample` in it, to be spoilt.
fn storage_with(sample: Sample) -> TempDir {
    let storage = TempDir::new().expect("directory");
    oci::push(sample, &Registry::start(storage.path()));
    storage
}

/// Where the registry in `storage` keeps the blob `digest`.
fn blob(storage: &Path, digest: &str) -> PathBuf {
    let hex = digest.trim_start_matches("sha256:");
    storage.join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
}

/// Changes one byte of a blob.
fn spoil(storage: &Path, digest: &str) {
    let path = blob(storage, digest);
    let mut bytes = fs::read(&path).expect("blob");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).expect("spoilt blob");
}

#[test]
fn a_layer_with_another_digest() {
    let storage = storage_with(Sample::Busybox);
    let (digest, _) = &oci::layers(Sample::Busybox)[0];
    spoil(storage.path(), digest);
    let registry = Registry::start(storage.path());
    let home = Home::apart();
    let reference = registry.reference(Sample::Busybox.name());
    home.banger(["image", "pull", &reference]).expect_code(1).expect_stderr(&[digest, "busybox"]);
    nothing_is_left(&home, digest);
}

#[test]
fn a_manifest_with_another_digest() {
    let storage = storage_with(Sample::Busybox);
    let digest = oci::manifest(Sample::Busybox);
    let path = blob(storage.path(), &digest);
    let text = fs::read_to_string(&path).expect("manifest");
    // Still a manifest: another number of bytes for a layer.
    fs::write(&path, text.replacen("\"size\":", "\"size\": ", 1)).expect("spoilt manifest");
    let registry = Registry::start(storage.path());
    let home = Home::apart();
    let repository = Sample::Busybox.name().split(':').next().expect("a name");
    for reference in [format!("{repository}@{digest}"), Sample::Busybox.name().to_owned()] {
        let reference = registry.reference(&reference);
        home.banger(["image", "pull", &reference]).expect_code(1).expect_stderr(&["sha256:"]);
    }
    nothing_is_left(&home, &digest);
}

#[test]
fn what_is_not_there() {
    let registry = Registry::start(&oci::ensure_storage(&[Sample::Busybox]));
    let home = Home::apart();
    let reference = registry.reference("no-such-image:latest");
    home.banger(["image", "pull", &reference]).expect_code(1).expect_stderr(&["no-such-image"]);
    let address = registry.address().to_owned();
    drop(registry);
    let reference = format!("{address}/{}", Sample::Busybox.name());
    home.banger(["image", "pull", &reference]).expect_code(1).expect_stderr(&[&address]);
}

/// Asserts that neither an image is left, nor the blob that was not what it should have been.
#[track_caller]
fn nothing_is_left(home: &Home, digest: &str) {
    home.expect_no_image();
    let hex = digest.trim_start_matches("sha256:");
    let cached = files(&home.cache_dir());
    assert!(!cached.iter().any(|file| file.contains(hex)), "{cached:#?}");
}
