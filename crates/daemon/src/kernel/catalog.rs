//! The kernels this build knows how to get.

use banger_proto::{ByteSize, Digest};
use serde::{Deserialize, Deserializer};

use super::KernelError;

/// Version of the catalog's form.
const VERSION: u32 = 1;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalog {
    version: u32,
    kernels: Vec<CatalogKernel>,
}

/// A kernel that can be had.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum CatalogKernel {
    /// Out of a distribution's package.
    Recipe(Recipe),
    /// As a bundle, from a web server.
    Bundle(Bundle),
}

/// A kernel in a distribution's package.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
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
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bundle {
    /// Its name.
    pub(crate) name: String,
    /// One line about it.
    pub(crate) description: String,
    /// Where the bundle is.
    pub(crate) url: String,
    /// SHA-256 of the bundle; 64 hexadecimal digits in the file.
    #[serde(deserialize_with = "digest")]
    pub(crate) sha256: Digest,
    /// Length of the bundle in bytes.
    pub(crate) size: ByteSize,
}

fn digest<'de, D: Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
    Digest::parse_hex(&String::deserialize(from)?).map_err(serde::de::Error::custom)
}

impl CatalogKernel {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Recipe(recipe) => &recipe.name,
            Self::Bundle(bundle) => &bundle.name,
        }
    }

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

/// The catalog that is part of the program.
///
/// # Errors
/// When it is broken, which a test rules out.
pub(crate) fn load_catalog() -> Result<Vec<CatalogKernel>, KernelError> {
    parse_catalog(include_str!("../../../../images/kernels.json"))
}

fn parse_catalog(text: &str) -> Result<Vec<CatalogKernel>, KernelError> {
    let catalog: Catalog = serde_json::from_str(text).map_err(KernelError::Catalog)?;
    if catalog.version == VERSION {
        Ok(catalog.kernels)
    } else {
        Err(KernelError::CatalogVersion(catalog.version))
    }
}

/// The kernel `name` of the catalog.
///
/// # Errors
/// When the catalog is broken.
pub(crate) fn find_in_catalog(name: &str) -> Result<Option<CatalogKernel>, KernelError> {
    Ok(load_catalog()?.into_iter().find(|kernel| kernel.name() == name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_proto::image_name::is_plain_name;

    #[test]
    fn the_catalog_can_be_read() {
        let catalog = load_catalog().unwrap();
        for kernel in &catalog {
            assert!(is_plain_name(kernel.name()), "{}", kernel.name());
            if let CatalogKernel::Bundle(bundle) = kernel {
                // The name carries the digest, so that no cache between serves stale bytes.
                assert!(bundle.url.contains(&bundle.sha256.hex()[..12]), "{}", bundle.url);
                assert!(bundle.size.bytes() > 0);
            }
        }
        assert!(catalog.iter().any(|kernel| kernel.name() == "debian-bookworm-cloud"));
    }

    #[test]
    fn an_entry_is_a_recipe_or_a_bundle() {
        let entry = |fields: &str| {
            let text =
                format!(r#"{{"version":1,"kernels":[{{"name":"k","description":"d",{fields}}}]}}"#);
            parse_catalog(&text).map(|kernels| kernels[0].source())
        };
        let recipe = r#""distro":"debian","arch":"amd64","suite":"bookworm","package":"p""#;
        assert_eq!(entry(recipe).unwrap(), "debian bookworm, package p");
        let digits = "00".repeat(32);
        let bundle = format!(r#""url":"https://x/k.tar.zst","sha256":"{digits}","size":7"#);
        assert_eq!(entry(&bundle).unwrap(), "https://x/k.tar.zst");
        assert!(entry(&format!("{recipe},{bundle}")).is_err());
        assert!(entry(r#""url":"https://x/k.tar.zst""#).is_err());
    }
}
