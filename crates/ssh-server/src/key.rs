//! Keys: the host's own, which signs, and those of users, whose signatures are checked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{self, Ed25519KeyPair, KeyPair as _, RsaPublicKeyComponents};

use crate::wire::{Malformed, Reader, Writer};

/// The one algorithm of host keys.
pub(crate) const ED25519: &str = "ssh-ed25519";

/// Algorithms of users' signatures that are accepted, best first. No SHA-1.
pub(crate) const SIGNATURES: [&str; 5] =
    [ED25519, "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "rsa-sha2-512", "rsa-sha2-256"];

/// Why a text is no host key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostKeyError {
    /// It is not OpenSSH's format, or damaged.
    #[error("the host key is no private key in OpenSSH's format")]
    Malformed,
    /// It needs a passphrase.
    #[error("the host key is encrypted")]
    Encrypted,
    /// It is not an ed25519 key.
    #[error("the host key is not of the kind ssh-ed25519")]
    Kind,
}

impl From<Malformed> for HostKeyError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// The server's identity.
#[derive(Debug)]
pub struct HostKey {
    pair: Ed25519KeyPair,
}

impl HostKey {
    /// Reads an unencrypted ed25519 key as `ssh-keygen` writes it (OpenSSH's PROTOCOL.key).
    ///
    /// # Errors
    /// When it is anything else.
    pub fn parse_openssh(text: &str) -> Result<Self, HostKeyError> {
        let lines: String = text
            .trim()
            .strip_prefix("-----BEGIN OPENSSH PRIVATE KEY-----")
            .and_then(|rest| rest.strip_suffix("-----END OPENSSH PRIVATE KEY-----"))
            .ok_or(HostKeyError::Malformed)?
            .split_ascii_whitespace()
            .collect();
        let bytes = STANDARD.decode(lines).map_err(|_| HostKeyError::Malformed)?;
        let bytes = bytes.strip_prefix(b"openssh-key-v1\0").ok_or(HostKeyError::Malformed)?;
        let mut outer = Reader::new(bytes);
        if (outer.string()?, outer.string()?) != (b"none", b"none") {
            return Err(HostKeyError::Encrypted);
        }
        let _options = outer.string()?;
        if outer.u32()? != 1 {
            return Err(HostKeyError::Malformed);
        }
        let _public = outer.string()?;
        let mut inner = Reader::new(outer.string()?);
        if inner.u32()? != inner.u32()? {
            return Err(HostKeyError::Malformed);
        }
        if inner.string()? != ED25519.as_bytes() {
            return Err(HostKeyError::Kind);
        }
        let public = inner.string()?;
        // The seed, and the public key once more.
        let seed = inner.string()?.get(..32).ok_or(HostKeyError::Malformed)?;
        let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public)
            .map_err(|_| HostKeyError::Malformed)?;
        Ok(Self { pair })
    }

    /// The public key as it is sent.
    pub(crate) fn public(&self) -> Vec<u8> {
        Writer::new().string(ED25519).string(self.pair.public_key()).finish()
    }

    /// A signature as it is sent.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        Writer::new().string(ED25519).string(self.pair.sign(message)).finish()
    }
}

/// Whether `signature` is that of the key `public` for `message`, by `algorithm` and nothing
/// else. Both are as they are sent (RFC 4253 §6.6, 5656, 8332, 8709).
pub(crate) fn verify(algorithm: &str, public: &[u8], signature: &[u8], message: &[u8]) -> bool {
    try_verify(algorithm, public, signature, message).unwrap_or(false)
}

fn try_verify(
    algorithm: &str,
    public: &[u8],
    signature: &[u8],
    message: &[u8],
) -> Result<bool, Malformed> {
    let (mut key, mut signature) = (Reader::new(public), Reader::new(signature));
    if signature.string()? != algorithm.as_bytes() {
        return Ok(false);
    }
    let (kind, signed) = (key.text()?, signature.string()?);
    let check = |algorithm: &'static dyn signature::VerificationAlgorithm, key, signed: &[u8]| {
        signature::UnparsedPublicKey::new(algorithm, key).verify(message, signed).is_ok()
    };
    Ok(match (algorithm, kind) {
        (ED25519, ED25519) => check(&signature::ED25519, key.string()?, signed),
        ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => {
            let (_curve, point) = (key.string()?, key.string()?);
            check(&signature::ECDSA_P256_SHA256_FIXED, point, &fixed(signed, 32)?)
        }
        ("ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384") => {
            let (_curve, point) = (key.string()?, key.string()?);
            check(&signature::ECDSA_P384_SHA384_FIXED, point, &fixed(signed, 48)?)
        }
        ("rsa-sha2-256" | "rsa-sha2-512", "ssh-rsa") => {
            let (e, n) = (key.positive()?, key.positive()?);
            let parameters = if algorithm == "rsa-sha2-256" {
                &signature::RSA_PKCS1_2048_8192_SHA256
            } else {
                &signature::RSA_PKCS1_2048_8192_SHA512
            };
            RsaPublicKeyComponents { n, e }.verify(parameters, message, signed).is_ok()
        }
        _ => false,
    })
}

/// The two numbers of an ECDSA signature, each of `length` bytes.
fn fixed(signed: &[u8], length: usize) -> Result<Vec<u8>, Malformed> {
    let mut numbers = Reader::new(signed);
    let mut bytes = Vec::with_capacity(2 * length);
    for number in [numbers.positive()?, numbers.positive()?] {
        let zeros = length.checked_sub(number.len()).ok_or(Malformed)?;
        bytes.resize(bytes.len() + zeros, 0);
        bytes.extend_from_slice(number);
    }
    Ok(bytes)
}

/// The keys that may log in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthorizedKeys {
    keys: Vec<Vec<u8>>,
}

impl AuthorizedKeys {
    /// Reads an `authorized_keys` file (sshd(8)). Lines with options are left out: an option
    /// restricts what a key may do, and none of them is understood here.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let keys = text.split(|byte| *byte == b'\n').filter_map(parse_line).collect();
        Self { keys }
    }

    pub(crate) fn contains(&self, public: &[u8]) -> bool {
        self.keys.iter().any(|key| key == public)
    }
}

fn parse_line(line: &[u8]) -> Option<Vec<u8>> {
    let mut words = str::from_utf8(line).ok()?.split_ascii_whitespace();
    let kind = words.next()?;
    let key = STANDARD.decode(words.next()?).ok()?;
    // What begins with options, or a `#`, does not begin with the kind of its key.
    (Reader::new(&key).text() == Ok(kind)).then_some(key)
}
