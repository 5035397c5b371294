//! Agreeing on algorithms and keys (RFC 4253 §7 and §8): what is computed, without any I/O.
//!
//! There is one way: X25519, signed with the ed25519 host key, and ciphers that authenticate.

use ring::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey, X25519};
use ring::digest::{Context, SHA256};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::cipher::Cipher;
use crate::key::{ED25519, HostKey};
use crate::message;
use crate::wire::{Malformed, Reader, Writer};

const METHODS: [&str; 2] = ["curve25519-sha256", "curve25519-sha256@libssh.org"];
/// In a client's list: it understands "strict" key exchange (OpenSSH's PROTOCOL §1.10, against
/// packets that vanish at the start of a connection).
const STRICT_CLIENT: &str = "kex-strict-c-v00@openssh.com";
const STRICT_SERVER: &str = "kex-strict-s-v00@openssh.com";
/// In a client's list: it takes `EXT_INFO` (RFC 8308).
const EXTENSIONS_CLIENT: &str = "ext-info-c";
/// Never used, for every cipher here authenticates; some clients want a common one all the same.
const MACS: &str = "hmac-sha2-256-etm@openssh.com,hmac-sha2-256";

/// Why no keys were agreed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KexError {
    #[error("no {0} in common with the client")]
    NothingInCommon(&'static str),
    #[error("the client's half of the key exchange is no valid point")]
    Point,
    #[error("the system has no randomness")]
    Random,
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// What a client's `KEXINIT` comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) to_server: Cipher,
    pub(crate) to_client: Cipher,
    pub(crate) strict: bool,
    pub(crate) extensions: bool,
    /// The client guessed wrong, so the message after its `KEXINIT` does not count.
    pub(crate) skip_next: bool,
}

/// The server's `KEXINIT`.
pub(crate) fn make_kexinit() -> Result<Vec<u8>, KexError> {
    let mut cookie = [0; 16];
    SystemRandom::new().fill(&mut cookie).map_err(|_| KexError::Random)?;
    let methods = [METHODS[0], METHODS[1], STRICT_SERVER].join(",");
    let ciphers = Cipher::ALL.map(Cipher::name).join(",");
    let lists = [&methods, ED25519, &ciphers, &ciphers, MACS, MACS, "none", "none", "", ""];
    let mut kexinit = Writer::message(message::KEXINIT).raw(&cookie);
    for list in lists {
        kexinit = kexinit.string(list);
    }
    Ok(kexinit.boolean(false).u32(0).finish())
}

/// Chooses by the client's preference, as both sides have to.
pub(crate) fn choose(kexinit: &[u8]) -> Result<Choice, KexError> {
    let mut message = Reader::new(kexinit);
    let (_number, _cookie) = (message.byte()?, message.take(16)?);
    let mut list = || message.text().map(|text| text.split(',').collect::<Vec<_>>());
    let (methods, host_keys, to_server, to_client) = (list()?, list()?, list()?, list()?);
    let (_macs, _other_macs) = (list()?, list()?);
    let compressions = [list()?, list()?];
    let (_languages, _other_languages) = (list()?, list()?);
    let guessed = message.boolean()?;

    let method = methods.iter().find(|name| METHODS.contains(name));
    let method = method.ok_or(KexError::NothingInCommon("key exchange method"))?;
    if !host_keys.contains(&ED25519) {
        return Err(KexError::NothingInCommon("kind of host key"));
    }
    if compressions.iter().any(|list| !list.contains(&"none")) {
        return Err(KexError::NothingInCommon("compression"));
    }
    let cipher = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| Cipher::ALL.into_iter().find(|cipher| cipher.name() == *name))
            .ok_or(KexError::NothingInCommon("cipher"))
    };
    let right_guess = methods.first() == Some(&METHODS[0])
        && method == &METHODS[0]
        && host_keys.first() == Some(&ED25519);
    Ok(Choice {
        to_server: cipher(&to_server)?,
        to_client: cipher(&to_client)?,
        strict: methods.contains(&STRICT_CLIENT),
        extensions: methods.contains(&EXTENSIONS_CLIENT),
        skip_next: guessed && !right_guess,
    })
}

/// What both sides said so far, which the keys depend on.
#[derive(Debug)]
pub(crate) struct Transcript<'a> {
    /// First lines, without their ends.
    pub(crate) client_version: &'a [u8],
    pub(crate) server_version: &'a [u8],
    pub(crate) client_kexinit: &'a [u8],
    pub(crate) server_kexinit: &'a [u8],
}

/// A finished exchange.
pub(crate) struct Exchanged {
    /// The message that tells the client.
    pub(crate) reply: Vec<u8>,
    /// Of the first exchange, the connection's identity.
    pub(crate) hash: [u8; 32],
    /// The shared secret as it enters hashes.
    secret: Vec<u8>,
}

/// Answers the client's half, which is in the message `init`.
pub(crate) fn exchange(
    host_key: &HostKey,
    transcript: &Transcript<'_>,
    init: &[u8],
) -> Result<Exchanged, KexError> {
    let mut init = Reader::new(init);
    let (_number, theirs) = (init.byte()?, init.string()?);
    let random = SystemRandom::new();
    let ours = EphemeralPrivateKey::generate(&X25519, &random).map_err(|_| KexError::Random)?;
    let our_half = ours.compute_public_key().map_err(|_| KexError::Random)?;
    // Refuses points that make the secret zero (RFC 8731 §3).
    let secret =
        agreement::agree_ephemeral(ours, &UnparsedPublicKey::new(&X25519, theirs), |secret| {
            Writer::new().positive(secret).finish()
        })
        .map_err(|_| KexError::Point)?;
    let public = host_key.public();
    let hashed = Writer::new()
        .string(transcript.client_version)
        .string(transcript.server_version)
        .string(transcript.client_kexinit)
        .string(transcript.server_kexinit)
        .string(&public)
        .string(theirs)
        .string(our_half.as_ref())
        .raw(&secret)
        .finish();
    let hash = sha256(&[&hashed]);
    let reply = Writer::message(message::KEX_ECDH_REPLY)
        .string(&public)
        .string(our_half.as_ref())
        .string(host_key.sign(&hash))
        .finish();
    Ok(Exchanged { reply, hash, secret })
}

impl Exchanged {
    /// `length` bytes for the purpose that `letter` stands for (RFC 4253 §7.2), at most 64.
    pub(crate) fn derive(&self, session_id: &[u8; 32], letter: u8, length: usize) -> Vec<u8> {
        let mut bytes = sha256(&[&self.secret, &self.hash, &[letter], session_id]).to_vec();
        let more = sha256(&[&self.secret, &self.hash, &bytes]);
        bytes.extend_from_slice(&more);
        bytes.truncate(length);
        bytes
    }
}

impl std::fmt::Debug for Exchanged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchanged").field("hash", &self.hash).finish_non_exhaustive()
    }
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kexinit(lists: [&str; 8], guessed: bool) -> Vec<u8> {
        let mut message = Writer::message(message::KEXINIT).raw(&[0; 16]);
        for list in lists.into_iter().chain(["", ""]) {
            message = message.string(list);
        }
        message.boolean(guessed).u32(0).finish()
    }

    const CHACHA: &str = "chacha20-poly1305@openssh.com";

    #[test]
    fn the_client_prefers() {
        let methods = "curve448-sha512,curve25519-sha256,ext-info-c,kex-strict-c-v00@openssh.com";
        let ciphers = "aes128-ctr,aes128-gcm@openssh.com,chacha20-poly1305@openssh.com";
        let lists = [methods, "ssh-rsa,ssh-ed25519", ciphers, CHACHA, "", "", "none", "zlib,none"];
        let choice = Choice {
            to_server: Cipher::Aes128Gcm,
            to_client: Cipher::ChaCha20Poly1305,
            strict: true,
            extensions: true,
            skip_next: true,
        };
        assert_eq!(choose(&kexinit(lists, true)), Ok(choice));
        let choice = Choice { skip_next: false, ..choice };
        assert_eq!(choose(&kexinit(lists, false)), Ok(choice));
    }

    #[test]
    fn nothing_weaker_is_agreed_on() {
        let good = [METHODS[0], ED25519, CHACHA, CHACHA, "", "", "none", "none"];
        assert!(choose(&kexinit(good, false)).is_ok());
        let weaker = [
            (0, "diffie-hellman-group14-sha1"),
            (1, "ssh-rsa"),
            (2, "aes128-cbc"),
            (3, "aes256-ctr,3des-cbc"),
            (6, "zlib"),
        ];
        for (place, list) in weaker {
            let mut lists = good;
            lists[place] = list;
            assert!(matches!(choose(&kexinit(lists, false)), Err(KexError::NothingInCommon(_))));
        }
        let whole = kexinit(good, false);
        for length in 0..whole.len() - 4 {
            assert!(choose(&whole[..length]).is_err());
        }
    }

    #[test]
    fn our_own_list_can_be_chosen_from() {
        assert!(choose(&make_kexinit().unwrap()).is_ok());
    }
}
