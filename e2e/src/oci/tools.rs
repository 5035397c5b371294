//! Running `umoci`, `skopeo` and what else makes images.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::image;
use super::sample::Recipe;

/// Runs a program to its end.
///
/// # Panics
/// When it fails, with what it said.
#[track_caller]
pub(super) fn run<const N: usize>(program: &str, options: &[&str], arguments: [&OsStr; N]) {
    let mut command = Command::new(program);
    let output = command
        .args(options)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The tags in an OCI layout; none when there is no layout.
pub(super) fn tags(layout: &Path) -> BTreeSet<String> {
    manifests(layout).into_iter().map(|(tag, _)| tag).collect()
}

/// The digest of the manifest of the image `tag`.
pub(super) fn manifest(layout: &Path, tag: &str) -> String {
    let mut found = manifests(layout).into_iter();
    found.find(|(name, _)| name == tag).expect("the image's manifest").1
}

/// The layers of the image `tag`: digest and size.
pub(super) fn layers(layout: &Path, tag: &str) -> Vec<(String, u64)> {
    let digest = manifest(layout, tag);
    let manifest = json(&layout.join("blobs").join(digest.replace(':', "/")));
    let layer = |layer: &Value| {
        let digest = layer["digest"].as_str().expect("digest").to_owned();
        (digest, layer["size"].as_u64().expect("size"))
    };
    manifest["layers"].as_array().expect("layers").iter().map(layer).collect()
}

/// The tags in an OCI layout, and the digests of their manifests.
fn manifests(layout: &Path) -> Vec<(String, String)> {
    let index = json(&layout.join("index.json"));
    let manifests = index["manifests"].as_array().cloned().unwrap_or_default();
    let named = |manifest: &Value| {
        let tag = manifest["annotations"]["org.opencontainers.image.ref.name"].as_str()?;
        Some((tag.to_owned(), manifest["digest"].as_str()?.to_owned()))
    };
    manifests.iter().filter_map(named).collect()
}

/// What a file says; nothing when it is not there.
fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Makes the image `tag` in `layout`, which is made when there is none.
pub(super) fn build(layout: &Path, tag: &str, recipe: &Recipe) {
    if !layout.exists() {
        run("umoci", &["init", "--layout"], [layout.as_ref()]);
    }
    // Under another name until it is complete: a build that dies is not taken for an image.
    let unfinished = image(layout, "unfinished");
    if tags(layout).contains("unfinished") {
        run("umoci", &["remove", "--image"], [unfinished.as_ref()]);
    }
    run("umoci", &["new", "--image"], [unfinished.as_ref()]);
    for layer in &recipe.layers {
        run("umoci", &["raw", "add-layer", "--image", &unfinished], [layer.as_ref()]);
        fs::remove_file(layer).expect("a layer that is in the image now");
    }
    let options: Vec<&str> = ["config", "--image", &unfinished]
        .into_iter()
        .chain(recipe.config.iter().map(String::as_str))
        .collect();
    run("umoci", &options, ["--tag".as_ref(), tag.as_ref()]);
    run("umoci", &["remove", "--image"], [unfinished.as_ref()]);
}
