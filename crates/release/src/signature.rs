//! The key of releases, and what it has signed: ECDSA on P-256 with SHA-256, the signature as DER in
//! base64, which is what `cosign sign-blob` makes and `openssl dgst -sha256 -verify` checks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::pkcs8::DecodePublicKey as _;

use crate::ReleaseError;

/// Largest signature as a file, in bytes. One has about a hundred.
pub(crate) const MAX_SIZE: usize = 4 << 10;

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(VerifyingKey);

/// Why a text is no key.
#[derive(Debug, thiserror::Error)]
#[error("it is no public key on the curve P-256 in PEM")]
pub struct KeyError;

impl Key {
    /// Reads a key: PEM, `BEGIN PUBLIC KEY`.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(pem: &str) -> Result<Self, KeyError> {
        VerifyingKey::from_public_key_pem(pem.trim()).map(Self).map_err(|_| KeyError)
    }

    /// Makes sure that `signature`, base64 of DER, was made of `content` by the owner of this key.
    ///
    /// # Errors
    /// When it was not.
    pub(crate) fn verify(&self, content: &[u8], signature: &[u8]) -> Result<(), ReleaseError> {
        let der = STANDARD.decode(signature.trim_ascii()).map_err(|_| ReleaseError::Signature)?;
        let signature = Signature::from_der(&der).map_err(|_| ReleaseError::Signature)?;
        self.0.verify(content, &signature).map_err(|_| ReleaseError::Signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with openssl 3.0: `openssl ecparam -name prime256v1 -genkey`, `openssl dgst -sha256 -sign`.
    const KEY: &str = include_str!("../tests/openssl/key.pem");
    const SIGNATURE: &[u8] = include_bytes!("../tests/openssl/content.sig");
    const CONTENT: &[u8] = b"banger\n";

    #[test]
    fn openssl_and_we_agree() {
        let key = Key::parse(KEY).unwrap();
        key.verify(CONTENT, SIGNATURE).unwrap();
        key.verify(b"banger", SIGNATURE).unwrap_err();
        key.verify(CONTENT, &SIGNATURE[..SIGNATURE.len() / 2]).unwrap_err();
        key.verify(CONTENT, b"").unwrap_err();
        key.verify(CONTENT, b"AAAA").unwrap_err();
    }

    #[test]
    fn only_a_key_is_one() {
        Key::parse("").unwrap_err();
        Key::parse("-----BEGIN PUBLIC KEY-----\nPLACEHOLDER\n-----END PUBLIC KEY-----")
            .unwrap_err();
    }
}
