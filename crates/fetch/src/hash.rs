//! SHA-256 of what is at hand.

use banger_proto::Digest;
use sha2::{Digest as _, Sha256};

/// The digest of `content`.
#[must_use]
pub fn sha256(content: &[u8]) -> Digest {
    finish(Sha256::new_with_prefix(content))
}

/// The digest of all that `hasher` was given.
pub(crate) fn finish(hasher: Sha256) -> Digest {
    Digest::from_bytes(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_standards_example() {
        // `abc` of FIPS 180-2, appendix B.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc").hex(), abc);
    }
}
