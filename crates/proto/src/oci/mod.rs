//! The words of the OCI specifications that more than one program uses: how images are named in
//! registries, and digests.

mod digest;
mod reference;

pub use digest::{Digest, DigestError};
pub use reference::{DEFAULT_TAG, Reference, ReferenceError};
