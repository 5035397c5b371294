//! What comes over the network arrives here, complete and verified, as files on this disk: the
//! blobs of OCI images from registries, and the bundles that catalogs name.
//!
//! Knows neither images nor VMs, and never looks inside a layer or a bundle.

mod digest;
mod http;
mod network;
mod reference;

pub use digest::{Digest, DigestError};
pub use http::{AddressError, Http, HttpError, ResolveError, SetupError};
pub use network::{NETWORK_VARIABLES, Network, Retry};
pub use reference::{Reference, ReferenceError};
