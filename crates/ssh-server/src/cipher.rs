//! Packets as they travel (RFC 4253 §6): length, padding, encryption and its tag.
//!
//! ```text
//!   clear      length │ padding length │ payload │ padding
//!   chacha20   ······ │ ·································· │ tag     length encrypted apart
//!   aes-gcm    length │ ·································· │ tag     length authenticated only
//! ```
//!
//! Only ciphers that authenticate by themselves: there is no separate MAC anywhere. The formats
//! are those of OpenSSH's PROTOCOL.chacha20poly1305 and of RFC 5647 as OpenSSH uses it.

use ring::aead::chacha20_poly1305_openssh as chacha;
use ring::aead::{self, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// Longest packet accepted: what every implementation has to take (RFC 4253 §6.1).
const PACKET_LIMIT: usize = 35_000;
/// Bytes of the length before each packet.
const LENGTH_LEN: usize = 4;
const TAG_LEN: usize = 16;
/// A direction's keys must change before the number of its packets repeats. Clients change them
/// after a gigabyte or so; one that never does is not talked to any longer.
const SEQUENCE_LIMIT: u32 = 1 << 31;

/// Why a packet cannot be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PacketError {
    #[error("a packet claims {0} bytes")]
    Length(usize),
    #[error("a packet was changed on its way")]
    Tag,
    #[error("a packet's padding is wrong")]
    Padding,
    #[error("the keys were used for too many packets")]
    WornOut,
}

/// The ciphers, best first for a guest that may be emulated without instructions for AES.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cipher {
    ChaCha20Poly1305,
    Aes256Gcm,
    Aes128Gcm,
}

impl Cipher {
    pub(crate) const ALL: [Self; 3] = [Self::ChaCha20Poly1305, Self::Aes256Gcm, Self::Aes128Gcm];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ChaCha20Poly1305 => "chacha20-poly1305@openssh.com",
            Self::Aes256Gcm => "aes256-gcm@openssh.com",
            Self::Aes128Gcm => "aes128-gcm@openssh.com",
        }
    }

    /// Bytes of key it needs.
    pub(crate) fn key_len(self) -> usize {
        match self {
            Self::ChaCha20Poly1305 => chacha::KEY_LEN,
            Self::Aes256Gcm => 32,
            Self::Aes128Gcm => 16,
        }
    }
}

/// AES-GCM in one direction: the counter in the nonce goes up by one a packet.
struct Gcm {
    key: LessSafeKey,
    nonce: [u8; NONCE_LEN],
}

impl Gcm {
    /// `key` and `iv` are as long as asked for.
    fn new(algorithm: &'static aead::Algorithm, key: &[u8], iv: &[u8]) -> Option<Self> {
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
        Some(Self { key, nonce: iv.get(..NONCE_LEN)?.try_into().ok()? })
    }

    fn next_nonce(&mut self) -> Nonce {
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        for byte in self.nonce[4..].iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
        nonce
    }
}

enum Keys<C> {
    Clear,
    ChaCha(C),
    Gcm(Box<Gcm>),
}

impl<C> Keys<C> {
    fn new(
        cipher: Cipher,
        key: &[u8],
        iv: &[u8],
        chacha: fn(&[u8; chacha::KEY_LEN]) -> C,
    ) -> Option<Self> {
        Some(match cipher {
            Cipher::ChaCha20Poly1305 => Self::ChaCha(chacha(key.try_into().ok()?)),
            Cipher::Aes256Gcm => Self::Gcm(Box::new(Gcm::new(&aead::AES_256_GCM, key, iv)?)),
            Cipher::Aes128Gcm => Self::Gcm(Box::new(Gcm::new(&aead::AES_128_GCM, key, iv)?)),
        })
    }

    /// What lengths are multiples of, and whether the length itself is counted.
    fn block(&self) -> (usize, bool) {
        match self {
            Self::Clear => (8, true),
            Self::ChaCha(_) => (8, false),
            Self::Gcm(_) => (16, false),
        }
    }
}

/// One direction: its keys and the number of its next packet.
struct Direction<C> {
    keys: Keys<C>,
    sequence: u32,
    /// Packets under these keys.
    packets: u32,
}

impl<C> Direction<C> {
    fn clear() -> Self {
        Self { keys: Keys::Clear, sequence: 0, packets: 0 }
    }

    fn change(&mut self, keys: Keys<C>, restart: bool) {
        self.keys = keys;
        self.packets = 0;
        if restart {
            self.sequence = 0;
        }
    }

    fn count(&mut self) -> Result<(), PacketError> {
        self.sequence = self.sequence.wrapping_add(1);
        self.packets += 1;
        if self.packets < SEQUENCE_LIMIT { Ok(()) } else { Err(PacketError::WornOut) }
    }
}

/// Makes packets of payloads.
pub(crate) struct Sealer(Direction<chacha::SealingKey>);

/// Makes payloads of packets.
pub(crate) struct Opener(Direction<chacha::OpeningKey>);

impl Sealer {
    pub(crate) fn clear() -> Self {
        Self(Direction::clear())
    }

    /// Uses new keys from the next packet on, whose number is zero if `restart`. None when the
    /// lengths of key and initial vector are not the cipher's.
    pub(crate) fn change(
        &mut self,
        cipher: Cipher,
        key: &[u8],
        iv: &[u8],
        restart: bool,
    ) -> Option<()> {
        self.0.change(Keys::new(cipher, key, iv, chacha::SealingKey::new)?, restart);
        Some(())
    }

    /// Appends the packet of `payload` to `out`.
    pub(crate) fn seal(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), PacketError> {
        let (block, counts_length) = self.0.keys.block();
        let counted = 1 + payload.len() + if counts_length { LENGTH_LEN } else { 0 };
        let mut padding = block - counted % block;
        if padding < 4 {
            padding += block;
        }
        let start = out.len();
        let length = 1 + payload.len() + padding;
        out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        out.push(u8::try_from(padding).unwrap_or(u8::MAX));
        out.extend_from_slice(payload);
        // Zeros: what is authenticated and encrypted with a number of its own needs no salt.
        out.resize(start + LENGTH_LEN + length, 0);
        let packet = &mut out[start..];
        match &mut self.0.keys {
            Keys::Clear => {}
            Keys::ChaCha(key) => {
                let mut tag = [0; TAG_LEN];
                key.seal_in_place(self.0.sequence, packet, &mut tag);
                out.extend_from_slice(&tag);
            }
            Keys::Gcm(gcm) => {
                let nonce = gcm.next_nonce();
                let (length, rest) = packet.split_at_mut(LENGTH_LEN);
                let tag = gcm
                    .key
                    .seal_in_place_separate_tag(nonce, Aad::from(&*length), rest)
                    .map_err(|_| PacketError::Length(rest.len()))?;
                out.extend_from_slice(tag.as_ref());
            }
        }
        self.0.count()
    }
}

impl Opener {
    pub(crate) fn clear() -> Self {
        Self(Direction::clear())
    }

    /// As [`Sealer::change`].
    pub(crate) fn change(
        &mut self,
        cipher: Cipher,
        key: &[u8],
        iv: &[u8],
        restart: bool,
    ) -> Option<()> {
        self.0.change(Keys::new(cipher, key, iv, chacha::OpeningKey::new)?, restart);
        Some(())
    }

    /// Number of the packet that was opened last.
    pub(crate) fn last_sequence(&self) -> u32 {
        self.0.sequence.wrapping_sub(1)
    }

    /// The payload of the packet at the start of `bytes`, and the bytes that packet has; none
    /// when it is not complete. `bytes` is of no use after an error.
    pub(crate) fn open(
        &mut self,
        bytes: &mut [u8],
    ) -> Result<Option<(Vec<u8>, usize)>, PacketError> {
        let Some(first) = bytes.first_chunk::<LENGTH_LEN>() else { return Ok(None) };
        let length = match &self.0.keys {
            Keys::ChaCha(key) => key.decrypt_packet_length(self.0.sequence, *first),
            Keys::Clear | Keys::Gcm(_) => *first,
        };
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        let (block, counts_length) = self.0.keys.block();
        let tag_len = if matches!(self.0.keys, Keys::Clear) { 0 } else { TAG_LEN };
        let padded = if counts_length { length.saturating_add(LENGTH_LEN) } else { length };
        // One byte of padding length, one of payload, four of padding at the least.
        if !(6..=PACKET_LIMIT).contains(&length) || !padded.is_multiple_of(block) {
            return Err(PacketError::Length(length));
        }
        let total = LENGTH_LEN + length + tag_len;
        let Some(packet) = bytes.get_mut(..total) else { return Ok(None) };
        let plain: &[u8] = match &mut self.0.keys {
            Keys::Clear => &packet[LENGTH_LEN..],
            Keys::ChaCha(key) => {
                let (packet, tag) =
                    packet.split_last_chunk_mut::<TAG_LEN>().ok_or(PacketError::Tag)?;
                key.open_in_place(self.0.sequence, packet, tag).map_err(|_| PacketError::Tag)?
            }
            Keys::Gcm(gcm) => {
                let nonce = gcm.next_nonce();
                let (length, rest) = packet.split_at_mut(LENGTH_LEN);
                gcm.key
                    .open_in_place(nonce, Aad::from(&*length), rest)
                    .map_err(|_| PacketError::Tag)?
            }
        };
        let padding = usize::from(plain[0]);
        let payload = plain
            .len()
            .checked_sub(1 + padding)
            .filter(|payload| *payload > 0 && padding >= 4)
            .ok_or(PacketError::Padding)?;
        let payload = plain[1..=payload].to_vec();
        self.0.count()?;
        Ok(Some((payload, total)))
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("sequence", &self.0.sequence).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").field("sequence", &self.0.sequence).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(cipher: Option<Cipher>) -> (Sealer, Opener) {
        let (mut sealer, mut opener) = (Sealer::clear(), Opener::clear());
        if let Some(cipher) = cipher {
            let key: Vec<u8> = (0..64).collect();
            let (key, iv) = (&key[..cipher.key_len()], [0xff; 12]);
            sealer.change(cipher, key, &iv, true).unwrap();
            opener.change(cipher, key, &iv, true).unwrap();
        }
        (sealer, opener)
    }

    fn kinds() -> impl Iterator<Item = Option<Cipher>> {
        std::iter::once(None).chain(Cipher::ALL.map(Some))
    }

    #[test]
    fn payloads_of_all_lengths_come_back_in_order() {
        for kind in kinds() {
            let (mut sealer, mut opener) = pair(kind);
            let mut wire = Vec::new();
            let payload = |length: usize| vec![length.to_le_bytes()[0]; length];
            for length in 1..100 {
                sealer.seal(&payload(length), &mut wire).unwrap();
            }
            for length in 1..100 {
                // As much of it as may have arrived is left alone.
                assert_eq!(opener.open(&mut wire[..7]).unwrap(), None);
                let (opened, used) = opener.open(&mut wire).unwrap().unwrap();
                assert_eq!(opened, payload(length), "{kind:?}");
                wire.drain(..used);
            }
            assert!(wire.is_empty());
        }
    }

    #[test]
    fn every_changed_bit_of_a_protected_packet_is_noticed() {
        for cipher in Cipher::ALL {
            let mut wire = Vec::new();
            pair(Some(cipher)).0.seal(b"payload", &mut wire).unwrap();
            for bit in 0..wire.len() * 8 {
                let mut changed = wire.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                // A length that grew may leave it waiting for more, which never fits either.
                let opened = pair(Some(cipher)).1.open(&mut changed);
                assert!(matches!(opened, Err(_) | Ok(None)), "{cipher:?} bit {bit}");
            }
            // Nor is it another packet's.
            let mut later = pair(Some(cipher)).1;
            later.open(&mut wire.clone()).unwrap();
            assert!(later.open(&mut wire).is_err());
        }
    }

    #[test]
    fn impossible_lengths_and_paddings_are_refused() {
        let open = |bytes: &[u8]| Opener::clear().open(&mut bytes.to_vec());
        for length in [0u32, 5, 13, 35_001, u32::MAX] {
            let found = open(&length.to_be_bytes());
            assert!(matches!(found, Err(PacketError::Length(_))), "{length}");
        }
        for padding in [0, 3, 11, 12, 255] {
            let mut packet = vec![0, 0, 0, 12, padding];
            packet.resize(16, 0);
            assert_eq!(open(&packet), Err(PacketError::Padding), "{padding}");
        }
    }
}
