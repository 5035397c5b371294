//! The lists of what can be had: the program's own, and one at `catalog_url`.
//!
//! ```json
//! { "version": 1, "images": [ { "name": "…", … } ], "kernels": [ { "name": "…", … } ] }
//! ```
//!
//! A catalog has one of the lists or both. What an entry is, its kind knows ([`Entry`]): images in
//! [`crate::image`], kernels in [`crate::kernel`].
//!
//! | part | responsible for |
//! |---|---|
//! | `form` | reading a catalog, entry by entry |
//! | `remote` | the one from elsewhere: fetching, keeping, merging |

mod form;
mod remote;

pub use form::CatalogError;
pub(crate) use form::{Entry, List, is_line};
pub(crate) use remote::Catalogs;
