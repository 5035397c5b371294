//! The images that can be had: what an entry of a catalog says about one, and the recipes, which are
//! part of the program.
//!
//! ```json
//! { "version": 1, "images": [
//!   { "name": "…", "description": "…", "distro": "…", "arch": "amd64", "kernel_ref": "…",
//!     "url": "https://…", "sha256": "…", "size": 0 }
//! ] }
//! ```
//!
//! Instead of `url`, `sha256` and `size`, an entry may name a `recipe` of the program and the
//! `suite` to make it of, or only an `oci` reference, which beside a recipe is what is taken on
//! hosts that cannot build. Other keys mean nothing: later catalogs may have more.

use std::collections::BTreeMap;

use banger_proto::api::RunConfig;
use banger_proto::image_name::is_plain_name;
use banger_proto::{ByteSize, Digest, ImageName, Reference};
use serde::Deserialize;
use serde_json::Value;

use super::oci::NewImage;
use crate::catalog::{CatalogError, Entry, List, is_line};

/// The only architecture there is.
const ARCH: &str = "amd64";

/// An entry as it is written.
#[derive(Debug, Deserialize)]
struct Written {
    name: String,
    #[serde(default)]
    description: String,
    distro: String,
    arch: String,
    #[serde(default)]
    kernel_ref: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    recipe: Option<String>,
    suite: Option<String>,
    url: Option<String>,
    sha256: Option<String>,
    size: Option<ByteSize>,
    oci: Option<String>,
}

/// An image that can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CatalogImage {
    /// Its name.
    pub(crate) name: ImageName,
    /// One line about it.
    pub(crate) description: String,
    /// Distribution.
    pub(crate) distro: String,
    /// Architecture as the distribution calls it.
    pub(crate) arch: String,
    /// Kernel it wants; absent for the default one.
    pub(crate) kernel_ref: Option<String>,
    /// Environment of every command.
    pub(crate) env: BTreeMap<String, String>,
    /// How it is had.
    pub(crate) origin: Origin,
}

impl CatalogImage {
    /// What is said about it once it is here; `source` is what it was made of.
    pub(super) fn describe(self, source: String) -> NewImage {
        NewImage {
            name: self.name,
            description: self.description,
            source,
            distro: self.distro,
            arch: self.arch,
            kernel_ref: self.kernel_ref,
            run: RunConfig { env: self.env, ..RunConfig::default() },
            replace: true,
        }
    }
}

/// How an image of the catalog is had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Made here, of the distribution's packages.
    Recipe {
        /// Name of the recipe.
        recipe: String,
        /// Release of the distribution.
        suite: String,
        /// An image in a registry that serves as well, for hosts that cannot build.
        instead: Option<Reference>,
    },
    /// Fetched, ready made.
    Bundle(BundleAt),
    /// From a registry.
    Registry(Reference),
}

/// Where a bundle is and how it is recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BundleAt {
    /// Address.
    pub(crate) url: String,
    /// SHA-256 of the bundle.
    pub(crate) sha256: Digest,
    /// Its length.
    pub(crate) size: ByteSize,
}

/// How an image is made of packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recipe {
    /// Packages besides the essential ones.
    pub(crate) packages: Vec<&'static str>,
    /// Paths that packages have and the image has not, as dpkg's options; the last match counts.
    pub(crate) dpkg_options: Vec<String>,
    /// Script that finishes the new root, which is its argument.
    pub(crate) customize: &'static str,
}

/// The files of a recipe as they are in the repository.
struct RecipeFiles {
    name: &'static str,
    packages: &'static str,
    excludes: &'static str,
    customize: &'static str,
}

const RECIPES: [RecipeFiles; 1] = [RecipeFiles {
    name: "debian-bookworm",
    packages: include_str!("../../../../images/debian-bookworm/packages.list"),
    excludes: include_str!("../../../../images/debian-bookworm/excludes.list"),
    customize: include_str!("../../../../images/debian-bookworm/customize.sh"),
}];

impl Entry for CatalogImage {
    const LIST: List = List::Images;
    const OWN: &'static [u8] = include_bytes!("../../../../images/catalog.json");

    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn parse(entry: Value) -> Result<Self, CatalogError> {
        parse_entry(serde_json::from_value(entry)?)
    }
}

fn parse_entry(entry: Written) -> Result<CatalogImage, CatalogError> {
    let wrong = |what| CatalogError::Entry { name: entry.name.clone(), what };
    let Ok(name) = entry.name.parse::<ImageName>() else {
        return Err(wrong("has a name that no image can have"));
    };
    if !is_line(&entry.description) || !is_plain_name(&entry.distro) {
        return Err(wrong("says something about itself that cannot be shown"));
    }
    if entry.arch != ARCH {
        return Err(wrong("is for another architecture"));
    }
    if entry.kernel_ref.as_deref().is_some_and(|kernel| !is_plain_name(kernel)) {
        return Err(wrong("wants a kernel by a name that none can have"));
    }
    let oci = entry.oci.as_deref().map(str::parse::<Reference>).transpose();
    let oci = oci.map_err(|_| wrong("has a reference that is none"))?;
    let origin = match (entry.recipe, entry.url, oci) {
        (Some(recipe), None, instead) => {
            if find_recipe(&recipe).is_none() {
                return Err(wrong("names a recipe that this program has not"));
            }
            let suite = entry.suite.ok_or_else(|| wrong("has a recipe and no suite"))?;
            // It becomes an argument of the packaging tool.
            if !is_plain_name(&suite) {
                return Err(wrong("has a suite that no distribution can have"));
            }
            Origin::Recipe { recipe, suite, instead }
        }
        (None, Some(url), _) => {
            let sha256 = entry.sha256.as_deref().and_then(|hex| Digest::parse_hex(hex).ok());
            let (Some(sha256), Some(size)) = (sha256, entry.size) else {
                return Err(wrong("has an address without the SHA-256 and size of what is there"));
            };
            Origin::Bundle(BundleAt { url, sha256, size })
        }
        (None, None, Some(reference)) => Origin::Registry(reference),
        (None, None, None) => return Err(wrong("does not say where the image is")),
        (Some(_), Some(_), _) => return Err(wrong("has both a recipe and an address")),
    };
    Ok(CatalogImage {
        name,
        description: entry.description,
        distro: entry.distro,
        arch: entry.arch,
        kernel_ref: entry.kernel_ref,
        env: entry.env,
        origin,
    })
}

/// The recipe `name`.
pub(crate) fn find_recipe(name: &str) -> Option<Recipe> {
    let files = RECIPES.iter().find(|recipe| recipe.name == name)?;
    Some(Recipe {
        packages: lines(files.packages).collect(),
        dpkg_options: lines(files.excludes)
            .map(|line| match line.strip_prefix('!') {
                Some(path) => format!("path-include={path}"),
                None => format!("path-exclude={line}"),
            })
            .collect(),
        customize: files.customize,
    })
}

/// The lines of a list that say something.
fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_of_the_catalog_can_be_made() {
        let (images, wrong) = CatalogImage::load_own().unwrap();
        assert!(wrong.is_empty(), "{wrong:?}");
        for image in images {
            let Origin::Recipe { recipe, .. } = &image.origin else { continue };
            let recipe = find_recipe(recipe).unwrap();
            assert!(recipe.packages.contains(&"systemd"));
            assert!(
                recipe.dpkg_options.contains(&"path-include=/usr/share/doc/*/copyright".into())
            );
            assert!(recipe.customize.starts_with("#!/bin/sh\n"));
            let sorted = recipe.packages.iter().collect::<std::collections::BTreeSet<_>>();
            assert_eq!(sorted.len(), recipe.packages.len(), "a package is named twice");
        }
    }

    fn parse(entry: Value) -> Result<CatalogImage, String> {
        let mut whole = serde_json::json!({ "name": "x", "distro": "debian", "arch": "amd64" });
        for (key, value) in entry.as_object().unwrap() {
            whole[key] = value.clone();
        }
        CatalogImage::parse(whole).map_err(|error| error.to_string())
    }

    #[test]
    fn an_entry_says_where_the_image_is() {
        let bundle = serde_json::json!({
            "url": "https://example.org/x.tar.zst", "sha256": "ab".repeat(32), "size": 7,
            "later": "keys mean nothing",
        });
        let at = BundleAt {
            url: "https://example.org/x.tar.zst".into(),
            sha256: Digest::from_bytes([0xab; 32]),
            size: ByteSize::from_bytes(7),
        };
        assert_eq!(parse(bundle).unwrap().origin, Origin::Bundle(at));
        let reference = parse(serde_json::json!({ "oci": "debian:bookworm" })).unwrap();
        assert_eq!(reference.origin, Origin::Registry("debian:bookworm".parse().unwrap()));
    }

    #[test]
    fn entries_that_make_no_sense_are_left_out_and_told() {
        let wrong = |entry| parse(entry).unwrap_err();
        assert_eq!(wrong(serde_json::json!({})), "entry `x` does not say where the image is");
        assert!(wrong(serde_json::json!({ "url": "https://x" })).contains("without the SHA-256"));
        assert!(wrong(serde_json::json!({ "name": "../x" })).contains("no image can have"));
        assert!(wrong(serde_json::json!({ "arch": "arm64" })).contains("architecture"));
        assert!(wrong(serde_json::json!({ "kernel_ref": "../k" })).contains("kernel"));
        let unknown = serde_json::json!({ "recipe": "nope", "suite": "x" });
        assert!(wrong(unknown).contains("recipe that this program has not"));
        let both = serde_json::json!({ "recipe": "debian-bookworm", "suite": "x", "url": "u" });
        assert!(wrong(both).contains("both"));
        let option = serde_json::json!({ "recipe": "debian-bookworm", "suite": "--setup-hook=x" });
        assert!(wrong(option).contains("suite"));
        assert!(wrong(serde_json::json!({ "description": "\u{1b}[2J" })).contains("shown"));
    }
}
