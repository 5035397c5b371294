//! Agreeing on algorithms and keys (RFC 4253 §7 and §8): what is computed, without any I/O.
//!
//! There is one way: X25519, with ML-KEM beside it where the client has that, signed with the ed25519
//! host key, and ciphers that authenticate.

use ml_kem::kem::Encapsulate as _;
use ml_kem::{EncapsulationKey, MlKem768, TryKeyInit as _};
use ring::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey, X25519};
use ring::digest::{Context, SHA256};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::cipher::Cipher;
use crate::key::{ED25519, HostKey};
use crate::message;
use crate::wire::{Malformed, Reader, Writer};

/// X25519 and ML-KEM-768 (draft-ietf-sshm-mlkem-hybrid-kex): clients warn of an exchange whose
/// record a quantum computer could read.
const HYBRID: &str = "mlkem768x25519-sha256";
/// The first is preferred.
const METHODS: [&str; 3] = [HYBRID, "curve25519-sha256", "curve25519-sha256@libssh.org"];
/// Bytes of an X25519 public key.
const POINT_LEN: usize = 32;
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
    #[error("the client's half of the key exchange is no valid key")]
    Half,
    #[error("the system has no randomness")]
    Random,
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// What a client's `KEXINIT` comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    /// With ML-KEM.
    pub(crate) hybrid: bool,
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
    let methods = [METHODS.join(",").as_str(), STRICT_SERVER].join(",");
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
        hybrid: *method == HYBRID,
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
    hybrid: bool,
    transcript: &Transcript<'_>,
    init: &[u8],
) -> Result<Exchanged, KexError> {
    let mut init = Reader::new(init);
    let (_number, theirs) = (init.byte()?, init.string()?);
    let (ours, secret) = if hybrid {
        agree_hybrid(theirs)?
    } else {
        let (ours, secret) = agree(theirs)?;
        (ours, Writer::new().positive(&secret).finish())
    };
    let public = host_key.public();
    let hashed = Writer::new()
        .string(transcript.client_version)
        .string(transcript.server_version)
        .string(transcript.client_kexinit)
        .string(transcript.server_kexinit)
        .string(&public)
        .string(theirs)
        .string(&ours)
        .raw(&secret)
        .finish();
    let hash = sha256(&[&hashed]);
    let reply = Writer::message(message::KEX_ECDH_REPLY)
        .string(&public)
        .string(&ours)
        .string(host_key.sign(&hash))
        .finish();
    Ok(Exchanged { reply, hash, secret })
}

/// Our point, and what it comes to with theirs.
fn agree(theirs: &[u8]) -> Result<(Vec<u8>, Vec<u8>), KexError> {
    let random = SystemRandom::new();
    let ours = EphemeralPrivateKey::generate(&X25519, &random).map_err(|_| KexError::Random)?;
    let point = ours.compute_public_key().map_err(|_| KexError::Random)?;
    // Refuses points that make the secret zero (RFC 8731 §3).
    let secret =
        agreement::agree_ephemeral(ours, &UnparsedPublicKey::new(&X25519, theirs), <[u8]>::to_vec);
    Ok((point.as_ref().to_vec(), secret.map_err(|_| KexError::Half)?))
}

/// Our half, and the secret as it enters hashes. Theirs is a key of ML-KEM and a point, ours what is
/// encapsulated for that key and a point. The secret is a hash of both, which neither alone gives
/// away.
fn agree_hybrid(theirs: &[u8]) -> Result<(Vec<u8>, Vec<u8>), KexError> {
    let key = theirs.len().checked_sub(POINT_LEN).ok_or(KexError::Half)?;
    let (key, point) = theirs.split_at(key);
    let (point, classic) = agree(point)?;
    let key = EncapsulationKey::<MlKem768>::new_from_slice(key).map_err(|_| KexError::Half)?;
    let (encapsulated, secret) = key.encapsulate();
    let secret = sha256(&[secret.as_slice(), &classic]);
    Ok(([encapsulated.as_slice(), &point].concat(), Writer::new().string(secret).finish()))
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
    use ml_kem::kem::{Decapsulate as _, Kem as _, KeyExport as _};

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
            hybrid: false,
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
        assert!(choose(&make_kexinit().unwrap()).is_ok_and(|choice| choice.hybrid));
    }

    /// A client's private halves, and its half as it is sent.
    fn client() -> (ml_kem::DecapsulationKey<MlKem768>, EphemeralPrivateKey, Vec<u8>) {
        let (private, public) = MlKem768::generate_keypair();
        let point = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).unwrap();
        let half = [&public.to_bytes()[..], point.compute_public_key().unwrap().as_ref()].concat();
        (private, point, half)
    }

    #[test]
    fn both_halves_of_a_hybrid_come_to_the_same() {
        let (private, point, theirs) = client();
        let (ours, secret) = agree_hybrid(&theirs).unwrap();
        // As long as FIPS 203 has a key and what is encapsulated for it, and a point.
        assert_eq!((theirs.len(), ours.len()), (1184 + 32, 1088 + 32));
        let (encapsulated, their_point) = ours.split_at(1088);
        let first = private.decapsulate_slice(encapsulated).unwrap();
        let their_point = UnparsedPublicKey::new(&X25519, their_point);
        let second = agreement::agree_ephemeral(point, &their_point, <[u8]>::to_vec).unwrap();
        assert_eq!(secret, Writer::new().string(sha256(&[&first, &second])).finish());
    }

    #[test]
    fn halves_that_are_none_are_refused() {
        let (_, _, good) = client();
        let zero_point = [&good[..1184], &[0; 32]].concat();
        // Coefficients that are no numbers of the field (FIPS 203 §7.2).
        let no_key = [&[0xff; 1184][..], &good[1184..]].concat();
        for bad in [&b""[..], &good[..31], &good[1..], &good[..1215], &zero_point, &no_key] {
            assert_eq!(agree_hybrid(bad).unwrap_err(), KexError::Half);
        }
    }
}
