//! What a catalog looks like. An entry that makes no sense is left out and told; the others count.

use serde::Deserialize;
use serde_json::Value;

/// Version of the form.
const VERSION: u32 = 1;
/// Longest text that is shown of an entry, in characters.
const MAX_LINE: usize = 200;

/// Why a catalog, or an entry of one, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// It is no catalog.
    #[error("it is not what a catalog should be")]
    Form(#[from] serde_json::Error),
    /// It has another form.
    #[error("it has the unknown version {0}")]
    Version(u32),
    /// It has no list.
    #[error("it lists neither images nor kernels")]
    Empty,
    /// An entry makes no sense.
    #[error("entry `{name}` {what}")]
    Entry {
        /// Its name.
        name: String,
        /// What is wrong with it, after the name.
        what: &'static str,
    },
}

/// A kind of thing that catalogs list.
pub(crate) trait Entry: Sized {
    /// Which of a catalog's lists has them.
    const LIST: List;
    /// The program's own catalog of them.
    const OWN: &'static [u8];

    /// Name.
    fn name(&self) -> &str;

    /// Reads an entry of the list.
    ///
    /// # Errors
    /// When it makes no sense.
    fn parse(entry: Value) -> Result<Self, CatalogError>;

    /// The entries of the program's own catalog, and what is wrong with those that were left out.
    ///
    /// # Errors
    /// When it is broken, which a test rules out.
    fn load_own() -> Result<(Vec<Self>, Vec<CatalogError>), CatalogError> {
        parse_catalog(Self::OWN)
    }

    /// What is wrong with it, after its name, when it does not come with the program.
    fn refuse_from_elsewhere(&self) -> Option<&'static str> {
        None
    }
}

/// The lists of a catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    /// `images`
    Images,
    /// `kernels`
    Kernels,
}

#[derive(Debug, Deserialize)]
struct Catalog {
    version: u32,
    images: Option<Vec<Value>>,
    kernels: Option<Vec<Value>>,
}

/// Reads a catalog: its entries of one kind, and what is wrong with those that were left out.
///
/// # Errors
/// When it is none, or has another form.
pub(super) fn parse_catalog<E: Entry>(
    text: &[u8],
) -> Result<(Vec<E>, Vec<CatalogError>), CatalogError> {
    let catalog: Catalog = serde_json::from_slice(text)?;
    if catalog.version != VERSION {
        return Err(CatalogError::Version(catalog.version));
    }
    if catalog.images.is_none() && catalog.kernels.is_none() {
        return Err(CatalogError::Empty);
    }
    let list = match E::LIST {
        List::Images => catalog.images,
        List::Kernels => catalog.kernels,
    };
    let (mut entries, mut wrong) = (Vec::new(), Vec::new());
    for entry in list.unwrap_or_default() {
        match E::parse(entry) {
            Ok(entry) => entries.push(entry),
            Err(error) => wrong.push(error),
        }
    }
    Ok((entries, wrong))
}

/// Whether `text` can be shown in a line of a table: it may come from anywhere.
pub(crate) fn is_line(text: &str) -> bool {
    text.chars().count() <= MAX_LINE && !text.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Thing(String);

    impl Entry for Thing {
        const LIST: List = List::Kernels;
        const OWN: &'static [u8] = b"";

        fn name(&self) -> &str {
            &self.0
        }

        fn parse(entry: Value) -> Result<Self, CatalogError> {
            Ok(Self(serde_json::from_value(entry)?))
        }
    }

    fn parse(text: &str) -> Result<(Vec<Thing>, Vec<CatalogError>), String> {
        parse_catalog(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn each_kind_has_its_own_list() {
        let (things, wrong) =
            parse(r#"{"version":1,"images":[7],"kernels":["a",7,"b"],"later":{}}"#).unwrap();
        assert_eq!(things.iter().map(Thing::name).collect::<Vec<_>>(), ["a", "b"]);
        assert!(matches!(wrong[..], [CatalogError::Form(_)]));
        assert!(parse(r#"{"version":1,"images":[]}"#).unwrap().0.is_empty());
    }

    #[test]
    fn what_is_no_catalog_is_refused() {
        assert_eq!(parse(r#"{"version":2}"#).unwrap_err(), "it has the unknown version 2");
        let neither = parse(r#"{"version":1,"image":[]}"#).unwrap_err();
        assert_eq!(neither, "it lists neither images nor kernels");
        for text in ["[]", "<html>", r#"{"version":1,"kernels":{}}"#] {
            assert_eq!(parse(text).unwrap_err(), "it is not what a catalog should be");
        }
    }
}
