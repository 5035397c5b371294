//! Releases of banger: what one is, getting one that its makers have signed, and putting it into
//! the place of another, so that whoever is killed at any moment leaves a whole one in use.
//!
//! ```text
//! manifest.json ─▶ choose ─▶ SHA256SUMS + signature ─▶ archive ─▶ unpacked ─▶ tried ─▶ in use
//!   (says what       │          (says what it is:       (its        beside      │   (one rename;
//!    there is)       │           version, hash)          hash)                  │    back by one)
//! ```
//!
//! Nothing is believed but what the signature is about: a manifest can hide a release or name one
//! that does not exist, not more. Its texts never become paths; versions do, once they are parsed.
//!
//! | module | responsible for |
//! |---|---|
//! | `version` | versions, and the names that follow from one |
//! | `manifest` | the list of releases |
//! | `choose` | which of them is wanted, if any |
//! | `signature` | the key, and what it has signed |
//! | `sums` | the hashes of a release's files |
//! | `get` | from a server to a verified archive |
//! | `unpack` | from an archive to a directory |
//! | `place` | the directory of releases: staging, use, return, removal |
//! | `share` | links to the completions and manual pages of the one in use |

mod choose;
mod error;
mod get;
mod manifest;
mod place;
mod share;
mod signature;
mod sums;
mod unpack;
mod version;

pub use choose::{Choice, Wanted, choose};
pub use error::ReleaseError;
pub use get::{Archive, Progress, Server};
pub use manifest::{Manifest, Release};
pub use place::{InUse, Place, Staged};
pub use share::link_shared;
pub use signature::{Key, KeyError};
pub use sums::Sums;
pub use version::{ParseVersionError, TARGET, Version};
