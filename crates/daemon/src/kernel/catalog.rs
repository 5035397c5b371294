//! The kernels that can be had: what an entry of a catalog says about one.
//!
//! ```json
//! { "version": 1, "kernels": [
//!   { "name": "…", "description": "…", "url": "https://…", "sha256": "…", "size": 0 }
//! ] }
//! ```
//!
//! The program's own entries may name a distribution's package instead (`distro`, `arch`, `suite`,
//! `package`). Other keys mean nothing: later catalogs may have more.

use banger_proto::image_name::is_plain_name;
use banger_proto::{ByteSize, Digest};
use serde::Deserialize;
use serde_json::Value;

use crate::catalog::{CatalogError, Entry, List, is_line};

/// A kernel that can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CatalogKernel {
    /// Out of a distribution's package.
    Recipe(Recipe),
    /// As a bundle, from a web server.
    Bundle(Bundle),
}

/// A kernel in a distribution's package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recipe {
    /// Its name.
    pub(crate) name: String,
    /// One line about it.
    pub(crate) description: String,
    /// Distribution.
    pub(crate) distro: String,
    /// Architecture as the distribution calls it.
    pub(crate) arch: String,
    /// Release of the distribution.
    pub(crate) suite: String,
    /// The package, which depends on the current version.
    pub(crate) package: String,
}

/// A kernel in a bundle (`banger_rootfs::bundle`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bundle {
    /// Its name.
    pub(crate) name: String,
    /// One line about it.
    pub(crate) description: String,
    /// Where the bundle is.
    pub(crate) url: String,
    /// SHA-256 of the bundle.
    pub(crate) sha256: Digest,
    /// Length of the bundle in bytes.
    pub(crate) size: ByteSize,
}

/// An entry as it is written.
#[derive(Debug, Deserialize)]
struct Written {
    name: String,
    #[serde(default)]
    description: String,
    distro: Option<String>,
    arch: Option<String>,
    suite: Option<String>,
    package: Option<String>,
    url: Option<String>,
    sha256: Option<String>,
    size: Option<ByteSize>,
}

impl CatalogKernel {
    /// One line about it.
    pub(crate) fn description(&self) -> &str {
        match self {
            Self::Recipe(recipe) => &recipe.description,
            Self::Bundle(bundle) => &bundle.description,
        }
    }

    /// Where it comes from, for people.
    pub(crate) fn source(&self) -> String {
        match self {
            Self::Recipe(recipe) => {
                format!("{} {}, package {}", recipe.distro, recipe.suite, recipe.package)
            }
            Self::Bundle(bundle) => bundle.url.clone(),
        }
    }
}

impl Entry for CatalogKernel {
    const LIST: List = List::Kernels;
    const OWN: &'static [u8] = include_bytes!("../../../../images/kernels.json");

    fn name(&self) -> &str {
        match self {
            Self::Recipe(recipe) => &recipe.name,
            Self::Bundle(bundle) => &bundle.name,
        }
    }

    fn parse(entry: Value) -> Result<Self, CatalogError> {
        parse_entry(serde_json::from_value(entry)?)
    }

    /// A recipe names packages to be fetched and unpacked on this host: only the program does that.
    fn refuse_from_elsewhere(&self) -> Option<&'static str> {
        matches!(self, Self::Recipe(_)).then_some("is no bundle, which kernels from elsewhere are")
    }
}

fn parse_entry(entry: Written) -> Result<CatalogKernel, CatalogError> {
    let Written { name, description, distro, arch, suite, package, url, sha256, size } = entry;
    let wrong = |what| CatalogError::Entry { name: name.escape_default().to_string(), what };
    if !is_plain_name(&name) {
        return Err(wrong("has a name that no kernel can have"));
    }
    if !is_line(&description) || !url.as_deref().is_none_or(is_line) {
        return Err(wrong("says something about itself that cannot be shown"));
    }
    match (package, url) {
        (Some(package), None) => {
            let (Some(distro), Some(arch), Some(suite)) = (distro, arch, suite) else {
                return Err(wrong("has a package without its distribution"));
            };
            Ok(CatalogKernel::Recipe(Recipe { name, description, distro, arch, suite, package }))
        }
        (None, Some(url)) => {
            let sha256 = sha256.and_then(|text| Digest::parse_hex(&text).ok());
            let (Some(sha256), Some(size)) = (sha256, size) else {
                return Err(wrong("has an address without the SHA-256 and size of what is there"));
            };
            Ok(CatalogKernel::Bundle(Bundle { name, description, url, sha256, size }))
        }
        (None, None) => Err(wrong("does not say where the kernel is")),
        (Some(_), Some(_)) => Err(wrong("has both a package and an address")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_catalog_can_be_read() {
        let (kernels, wrong) = CatalogKernel::load_own().unwrap();
        assert!(wrong.is_empty(), "{wrong:?}");
        for kernel in &kernels {
            if let CatalogKernel::Bundle(bundle) = kernel {
                // The name carries the digest, so that no cache between serves stale bytes.
                assert!(bundle.url.contains(&bundle.sha256.hex()[..12]), "{}", bundle.url);
                assert!(bundle.size.bytes() > 0);
            }
        }
        assert!(kernels.iter().any(|kernel| kernel.name() == "debian-bookworm-cloud"));
    }

    fn parse(entry: Value) -> Result<CatalogKernel, String> {
        let mut whole = json!({ "name": "k", "description": "d" });
        for (key, value) in entry.as_object().unwrap() {
            whole[key] = value.clone();
        }
        CatalogKernel::parse(whole).map_err(|error| error.to_string())
    }

    #[test]
    fn an_entry_is_a_recipe_or_a_bundle() {
        let recipe =
            json!({"distro": "debian", "arch": "amd64", "suite": "bookworm", "package": "p"});
        let made = parse(recipe.clone()).unwrap();
        assert_eq!(made.source(), "debian bookworm, package p");
        assert!(made.refuse_from_elsewhere().is_some());
        let bundle = json!({
            "url": "https://x/k.tar.zst", "sha256": "00".repeat(32), "size": 7, "later": "means nothing",
        });
        let fetched = parse(bundle.clone()).unwrap();
        assert_eq!(fetched.source(), "https://x/k.tar.zst");
        assert_eq!(fetched.refuse_from_elsewhere(), None);
        let mut both = recipe;
        both["url"] = bundle["url"].clone();
        assert!(parse(both).unwrap_err().contains("both"));
    }

    #[test]
    fn entries_that_make_no_sense_are_told() {
        for (entry, what) in [
            (json!({}), "where the kernel is"),
            (json!({ "name": "../k" }), "no kernel can have"),
            (json!({ "description": "\u{1b}[2J" }), "cannot be shown"),
            (json!({ "package": "p" }), "without its distribution"),
            (json!({ "url": "https://x" }), "without the SHA-256"),
            (json!({ "url": "https://x", "sha256": "xy".repeat(32), "size": 7 }), "SHA-256"),
        ] {
            let error = parse(entry).unwrap_err();
            assert!(error.contains(what), "{error}");
        }
    }
}
