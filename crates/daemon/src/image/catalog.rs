//! The images this build knows how to make: the catalog and the recipes, both part of the
//! program.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::ImageError;

/// Version of the catalog's form.
const VERSION: u32 = 1;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalog {
    version: u32,
    images: Vec<CatalogImage>,
}

/// An image that can be made.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CatalogImage {
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
    /// Kernel it wants; absent for the default one.
    #[serde(default)]
    pub(crate) kernel_ref: Option<String>,
    /// Environment of every command.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// Name of its recipe.
    pub(crate) recipe: String,
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

/// The catalog that is part of the program.
///
/// # Errors
/// When it is broken, which a test rules out.
pub(crate) fn load_catalog() -> Result<Vec<CatalogImage>, ImageError> {
    let catalog: Catalog = serde_json::from_str(include_str!("../../../../images/catalog.json"))
        .map_err(ImageError::Catalog)?;
    if catalog.version == VERSION {
        Ok(catalog.images)
    } else {
        Err(ImageError::CatalogVersion(catalog.version))
    }
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

/// Whether `name` can be an image's or a kernel's: it becomes part of file names.
pub(crate) fn is_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_+".contains(c);
    name.len() <= 100
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(legal)
}

/// The known name that is most like `name`, when one is.
pub(crate) fn near_name<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a String>,
) -> Option<&'a String> {
    /// From where on two names look alike; below are names that share some letters.
    const ALIKE: f64 = 0.8;
    known
        .into_iter()
        .map(|other| (strsim::jaro_winkler(name, other), other))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_of_the_catalog_can_be_made() {
        for image in load_catalog().unwrap() {
            assert!(is_name(&image.name), "{}", image.name);
            let recipe = find_recipe(&image.recipe).unwrap();
            assert!(recipe.packages.contains(&"systemd"));
            assert!(
                recipe.dpkg_options.contains(&"path-include=/usr/share/doc/*/copyright".into())
            );
            assert!(recipe.customize.starts_with("#!/bin/sh\n"));
            let sorted = recipe.packages.iter().collect::<std::collections::BTreeSet<_>>();
            assert_eq!(sorted.len(), recipe.packages.len(), "a package is named twice");
        }
    }

    #[test]
    fn names_stay_in_their_directory() {
        assert!(is_name("debian-bookworm"));
        for bad in ["", ".", "..", "../x", "a/b", ".work", "A", "a b", "a\n"] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn near_names() {
        let known = ["debian-bookworm".to_owned(), "alpine".to_owned()];
        assert_eq!(near_name("debian-bokworm", &known), Some(&known[0]));
        assert_eq!(near_name("debian", &known), Some(&known[0]));
        assert_eq!(near_name("windows", &known), None);
    }
}
