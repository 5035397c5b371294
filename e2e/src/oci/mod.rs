//! Images of every kind, made and taken apart by tools that have nothing to do with banger:
//! layers are tars, `umoci` makes images of them, `skopeo` puts these into a registry, and
//! `umoci unpack` says what a correct unpacking looks like.
//!
//! ```text
//!  tars ──umoci──▶ OCI layout ──skopeo──▶ storage of a registry ──▶ the program under test
//!                      └──────umoci unpack──▶ directory ──▶ what has to be the same
//! ```
//!
//! Each is made once for a checkout, under `target/e2e/oci`, and again when the code that makes
//! it has changed.

mod engine;
mod layer;
mod many;
mod odd;
mod sample;
mod small;
mod tools;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

pub use sample::Sample;

use crate::{Registry, Tree, shared, tree};
use sample::Compression;
use tools::run;

/// What the images depend on.
const MAKERS: [&[u8]; 6] = [
    include_bytes!("engine.rs"),
    include_bytes!("layer.rs"),
    include_bytes!("many.rs"),
    include_bytes!("odd.rs"),
    include_bytes!("sample.rs"),
    include_bytes!("small.rs"),
];

/// A registry's storage that has `samples` in it.
///
/// # Panics
/// When they cannot be made: a tool is missing, the disk is full, there is no package mirror.
#[must_use]
pub fn ensure_storage(samples: &[Sample]) -> PathBuf {
    let place = place();
    fs::create_dir_all(place.join("storage")).expect("storage");
    let lock = File::create(place.join("lock")).expect("lock");
    // Tests of one program run side by side, and so may whole programs.
    flock(&lock, FlockOperation::LockExclusive).expect("lock");
    for &sample in samples {
        let done = place.join(format!("made-{}", sample.name()));
        if !done.exists() {
            make(place, sample);
            fs::write(done, "").expect("mark");
        }
    }
    place.join("storage")
}

/// The OCI layout with `sample` in it, whose tag there is the returned name.
///
/// # Panics
/// As [`ensure_storage`].
#[must_use]
pub fn ensure_layout(sample: Sample) -> (PathBuf, &'static str) {
    let _ = ensure_storage(&[sample]);
    (layout(place()), sample.layout_tag())
}

/// The digest of the manifest of `sample`, where its layers are compressed as usual.
///
/// # Panics
/// As [`ensure_storage`].
#[must_use]
pub fn manifest(sample: Sample) -> String {
    let (layout, tag) = ensure_layout(sample);
    tools::manifest(&layout, tag)
}

/// The layers of `sample`, where they are compressed as usual: digest (`sha256:…`) and size.
///
/// # Panics
/// As [`ensure_storage`].
#[must_use]
pub fn layers(sample: Sample) -> Vec<(String, u64)> {
    let (layout, tag) = ensure_layout(sample);
    tools::layers(&layout, tag)
}

/// `sample` as `umoci` unpacks it.
///
/// # Panics
/// When it cannot: that takes root, who alone can make devices and give files away.
#[must_use]
pub fn unpack(sample: Sample) -> Tree {
    let dir = tempfile::tempdir().expect("directory");
    unpack_to(sample, dir.path()).1
}

/// Unpacks `sample` in `dir` and says where, and what is there.
///
/// # Panics
/// As [`unpack`].
#[must_use]
pub fn unpack_to(sample: Sample, dir: &Path) -> (PathBuf, Tree) {
    assert!(rustix::process::geteuid().is_root(), "comparing images takes root");
    let (layout, tag) = ensure_layout(sample);
    let bundle = dir.join("bundle");
    run("umoci", &["unpack", "--image"], [image(&layout, tag).as_ref(), bundle.as_ref()]);
    let root = bundle.join("rootfs");
    let tree = tree::read_directory(&root);
    (root, tree)
}

/// Where the images of this version of their makers are. Those of others are removed.
fn place() -> &'static Path {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        let mut hasher = Sha256::new();
        MAKERS.iter().for_each(|source| hasher.update(source));
        let version: String =
            hasher.finalize()[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        let all = shared::checkout().join("target/e2e/oci");
        for old in fs::read_dir(&all).into_iter().flatten().flatten() {
            if old.file_name() != *version {
                fs::remove_dir_all(old.path()).expect("images of another version");
            }
        }
        all.join(version)
    })
}

fn layout(place: &Path) -> PathBuf {
    place.join("layout")
}

/// `LAYOUT:TAG`, as the tools call an image in a layout.
fn image(layout: &Path, tag: &str) -> String {
    format!("{}:{tag}", layout.display())
}

fn make(place: &Path, sample: Sample) {
    let layout = layout(place);
    let present: BTreeSet<String> = tools::tags(&layout);
    if !present.contains(sample.layout_tag()) {
        let work = TempDir::new_in(place).expect("directory");
        let recipe = sample.recipe(work.path());
        tools::build(&layout, sample.layout_tag(), &recipe);
    }
    copy(&layout, sample, &Registry::start(&place.join("storage")));
}

/// Puts `sample` into a registry of the caller's, to be spoilt.
///
/// # Panics
/// As [`ensure_storage`].
pub fn push(sample: Sample, registry: &Registry) {
    let (layout, _) = ensure_layout(sample);
    copy(&layout, sample, registry);
}

fn copy(layout: &Path, sample: Sample, registry: &Registry) {
    let from = format!("oci:{}", image(layout, sample.layout_tag()));
    let to = format!("docker://{}", registry.reference(sample.name()));
    let copy = ["copy", "--quiet", "--dest-tls-verify=false"];
    match sample.compression() {
        Compression::Gzip => run("skopeo", &copy, [from.as_ref(), to.as_ref()]),
        Compression::Zstd => {
            let copy = [&copy[..], &["--dest-compress-format", "zstd"]].concat();
            run("skopeo", &copy, [from.as_ref(), to.as_ref()]);
        }
        Compression::None => {
            // It compresses whatever goes to a registry, unless digests have to stay.
            let dir = tempfile::tempdir().expect("directory");
            let plain = format!("dir:{}", dir.path().display());
            let decompress = ["copy", "--quiet", "--dest-decompress"];
            run("skopeo", &decompress, [from.as_ref(), plain.as_ref()]);
            let copy = [&copy[..], &["--preserve-digests"]].concat();
            run("skopeo", &copy, [plain.as_ref(), to.as_ref()]);
        }
    }
}
