//! The kernels this build knows how to get.

use serde::Deserialize;

use super::KernelError;

/// Version of the catalog's form.
const VERSION: u32 = 1;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalog {
    version: u32,
    kernels: Vec<CatalogKernel>,
}

/// A kernel that can be had from a distribution's package.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CatalogKernel {
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

/// The catalog that is part of the program.
///
/// # Errors
/// When it is broken, which a test rules out.
pub(crate) fn load_catalog() -> Result<Vec<CatalogKernel>, KernelError> {
    let catalog: Catalog = serde_json::from_str(include_str!("../../../../images/kernels.json"))
        .map_err(KernelError::Catalog)?;
    if catalog.version == VERSION {
        Ok(catalog.kernels)
    } else {
        Err(KernelError::CatalogVersion(catalog.version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_proto::image_name::is_plain_name;

    #[test]
    fn the_catalog_can_be_read() {
        let catalog = load_catalog().unwrap();
        assert!(catalog.iter().all(|kernel| is_plain_name(&kernel.name)));
        assert!(catalog.iter().any(|kernel| kernel.name == "debian-bookworm-cloud"));
    }
}
