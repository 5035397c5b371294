//! Markers: the words with which both ends find each other on a byte stream whose past they do
//! not know. Pure; when a marker is sent and answered is decided in `host` and `guest`.
//!
//! A host that connects anew may get hundreds of kilobytes of an earlier session first, and
//! the guest may never notice that its peer changed. So a marker begins with 16 random bytes
//! known to both ends of this VM only, and is looked for in everything that arrives:
//!
//! ```text
//! magic (16) | kind (1) | nonce (16) | generation (4, big endian)
//! ```

use std::fmt;
use std::str::FromStr;

use memchr::memmem::Finder;

/// Bytes of a magic.
pub const MAGIC_LEN: usize = 16;

/// Bytes of a marker after its magic.
const BODY_LEN: usize = 1 + 16 + 4;

/// Bytes of a marker.
pub const MARKER_LEN: usize = MAGIC_LEN + BODY_LEN;

/// The 16 random bytes that begin every marker of one VM's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Magic([u8; MAGIC_LEN]);

impl Magic {
    /// A magic of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; MAGIC_LEN]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Magic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why a text is not a magic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a link magic: expected 32 hexadecimal digits")]
pub struct ParseMagicError(String);

impl FromStr for Magic {
    type Err = ParseMagicError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseMagicError(text.to_owned());
        if text.len() != 2 * MAGIC_LEN || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(error());
        }
        let mut bytes = [0; MAGIC_LEN];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| error())?;
        }
        Ok(Self(bytes))
    }
}

/// What a marker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum MarkerKind {
    /// Guest: this end is new, or lost its session; the host may say `Hello`.
    Call = 1,
    /// Host: forget what was, answer with my nonce.
    Hello = 2,
    /// Guest: the `Hello` with this nonce has arrived.
    Ack = 3,
    /// Host: the session of this nonce starts after this marker.
    Start = 4,
    /// Guest: it starts after this marker in the other direction too.
    Started = 5,
}

impl MarkerKind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Call, Self::Hello, Self::Ack, Self::Start, Self::Started]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// One marker, without its magic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// What it says.
    pub kind: MarkerKind,
    /// Random bytes of the attempt to connect that it belongs to; zero in a `Call`.
    pub nonce: [u8; 16],
    /// Generation of the link's protocol: the newest its sender speaks, in `Start` and `Started`
    /// the one that both will use.
    pub generation: u32,
}

impl Marker {
    /// The marker's bytes on a link with this magic.
    #[must_use]
    pub fn encode(&self, magic: Magic) -> [u8; MARKER_LEN] {
        let mut bytes = [0; MARKER_LEN];
        bytes[..MAGIC_LEN].copy_from_slice(&magic.0);
        bytes[MAGIC_LEN] = self.kind as u8;
        bytes[MAGIC_LEN + 1..MARKER_LEN - 4].copy_from_slice(&self.nonce);
        bytes[MARKER_LEN - 4..].copy_from_slice(&self.generation.to_be_bytes());
        bytes
    }

    /// The marker of these bytes after a magic; `None` when this build does not know its kind.
    fn parse(body: &[u8; BODY_LEN]) -> Option<Self> {
        let [kind, rest @ ..] = body;
        let (nonce, generation) = rest.split_first_chunk::<16>()?;
        Some(Self {
            kind: MarkerKind::from_byte(*kind)?,
            nonce: *nonce,
            generation: u32::from_be_bytes(generation.try_into().ok()?),
        })
    }
}

/// Finds markers in a byte stream that arrives in arbitrary pieces.
///
/// It never asks for bytes to be held back: it remembers the last 15 bytes it saw, so a magic
/// is found wherever the stream was cut, and everything before it may have been used already.
///
/// ```text
/// seeking ── magic ──▶ in a body ── 21 bytes ──▶ seeking
///                       ▲     │
///                       └─────┘ magic: the marker before was cut short
/// ```
#[derive(Debug)]
pub struct Scanner {
    finder: Finder<'static>,
    /// The last bytes seen, as many as `seen`; too few to hold a magic.
    tail: [u8; MAGIC_LEN - 1],
    seen: usize,
    /// Bytes of the marker whose magic was found, as far as they have arrived.
    body: Option<([u8; BODY_LEN], usize)>,
}

impl Scanner {
    /// A scanner that has seen nothing.
    #[must_use]
    pub fn new(magic: Magic) -> Self {
        let finder = Finder::new(&magic.0).into_owned();
        Self { finder, tail: [0; MAGIC_LEN - 1], seen: 0, body: None }
    }

    /// Looks at the next `bytes` of the stream for a magic. Returns the offset just after it;
    /// the bytes from there on are still to be given to the scanner, the marker's rest first.
    pub fn find_magic(&mut self, bytes: &[u8]) -> Option<usize> {
        let found = self.seek(bytes);
        if found.is_some() {
            self.body = Some(([0; BODY_LEN], 0));
        }
        found
    }

    /// Looks at the next `bytes` of the stream for a marker. Returns how many of them it used,
    /// and the marker that ended there, if any; without one it has used all of them.
    pub fn next_marker(&mut self, bytes: &[u8]) -> (usize, Option<Marker>) {
        let mut used = 0;
        while used < bytes.len() {
            let Some((mut body, filled)) = self.body else {
                match self.find_magic(&bytes[used..]) {
                    Some(end) => used += end,
                    None => break,
                }
                continue;
            };
            let take = (BODY_LEN - filled).min(bytes.len() - used);
            let part = &bytes[used..used + take];
            if let Some(end) = self.find_magic(part) {
                used += end;
                continue;
            }
            body[filled..filled + take].copy_from_slice(part);
            used += take;
            if filled + take < BODY_LEN {
                self.body = Some((body, filled + take));
                continue;
            }
            self.body = None;
            if let Some(marker) = Marker::parse(&body) {
                return (used, Some(marker));
            }
        }
        (bytes.len(), None)
    }

    /// Offset in `bytes` just after the first magic that ends in them.
    fn seek(&mut self, bytes: &[u8]) -> Option<usize> {
        let found = self
            .seek_seam(bytes)
            .or_else(|| self.finder.find(bytes).map(|start| start + MAGIC_LEN));
        match found {
            // A magic cannot overlap the next one: what was seen begins anew.
            Some(_) => self.seen = 0,
            None => self.remember(bytes),
        }
        found
    }

    /// The same for a magic that began in earlier bytes.
    fn seek_seam(&self, bytes: &[u8]) -> Option<usize> {
        let mut seam = [0; 2 * (MAGIC_LEN - 1)];
        let head = &bytes[..bytes.len().min(MAGIC_LEN - 1)];
        seam[..self.seen].copy_from_slice(&self.tail[..self.seen]);
        seam[self.seen..self.seen + head.len()].copy_from_slice(head);
        let start = self.finder.find(&seam[..self.seen + head.len()])?;
        Some(start + MAGIC_LEN - self.seen)
    }

    fn remember(&mut self, bytes: &[u8]) {
        let room = self.tail.len();
        if bytes.len() >= room {
            self.tail.copy_from_slice(&bytes[bytes.len() - room..]);
            self.seen = room;
            return;
        }
        let keep = self.seen.min(room - bytes.len());
        self.tail.copy_within(self.seen - keep..self.seen, 0);
        self.tail[keep..keep + bytes.len()].copy_from_slice(bytes);
        self.seen = keep + bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAGIC: Magic = Magic(*b"\x01\x01\x02magic-of-test");

    fn hello(nonce: u8) -> Marker {
        Marker { kind: MarkerKind::Hello, nonce: [nonce; 16], generation: 7 }
    }

    /// Feeds `stream` cut at `cuts`; the markers with the offsets at which they ended.
    fn scan(stream: &[u8], cuts: &[usize]) -> Vec<(usize, Marker)> {
        let mut scanner = Scanner::new(MAGIC);
        let mut found = Vec::new();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        for piece in cuts.windows(2) {
            let mut at = piece[0];
            while at < piece[1] {
                let (used, marker) = scanner.next_marker(&stream[at..piece[1]]);
                assert!(used > 0);
                at += used;
                found.extend(marker.map(|marker| (at, marker)));
            }
        }
        found
    }

    #[test]
    fn magic_is_text_of_32_hexadecimal_digits() {
        let magic: Magic = "000102030405060708090a0b0c0d0eff".parse().unwrap();
        assert_eq!(magic.to_string(), "000102030405060708090a0b0c0d0eff");
        for bad in ["", "00", "000102030405060708090a0b0c0d0efg", "é00102030405060708090a0b0c0d0ef"]
        {
            bad.parse::<Magic>().unwrap_err();
        }
    }

    #[test]
    fn a_marker_cut_short_at_any_byte_does_not_hide_the_next() {
        for cut in 0..MARKER_LEN {
            let mut stream = hello(1).encode(MAGIC)[..cut].to_vec();
            stream.extend(hello(2).encode(MAGIC));
            let last = *scan(&stream, &[]).last().unwrap();
            assert_eq!(last, (stream.len(), hello(2)), "cut at {cut}");
        }
    }

    #[test]
    fn a_marker_of_an_unknown_kind_is_passed_over() {
        let mut stream = hello(1).encode(MAGIC).to_vec();
        stream[MAGIC_LEN] = 99;
        stream.extend(hello(2).encode(MAGIC));
        assert_eq!(scan(&stream, &[]), [(stream.len(), hello(2))]);
    }

    #[test]
    fn the_rest_of_a_marker_follows_its_magic() {
        let mut scanner = Scanner::new(MAGIC);
        let bytes = hello(3).encode(MAGIC);
        assert_eq!(scanner.find_magic(&bytes[..9]), None);
        assert_eq!(scanner.find_magic(&bytes[9..]), Some(MAGIC_LEN - 9));
        assert_eq!(scanner.next_marker(&bytes[MAGIC_LEN..]), (BODY_LEN, Some(hello(3))));
    }

    /// Noise that likes to look like the beginning or the end of a magic.
    fn noise() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            (0..MAGIC_LEN).prop_map(|n| MAGIC.0[..n].to_vec()),
            (1..MAGIC_LEN).prop_map(|n| MAGIC.0[n..].to_vec()),
            prop::collection::vec(0u8..4, 0..20),
        ];
        prop::collection::vec(piece, 0..6)
            .prop_map(|pieces| pieces.concat())
            .prop_filter("is noise", |noise| !noise.windows(MAGIC_LEN).any(|w| w == MAGIC.0))
    }

    proptest! {
        #[test]
        fn markers_are_found_wherever_they_lie_and_however_the_stream_is_cut(
            parts in prop::collection::vec((noise(), any::<[u8; 16]>(), any::<u32>()), 0..5),
            after in noise(),
            cuts in prop::collection::vec(any::<usize>(), 0..40),
        ) {
            let mut stream = Vec::new();
            let mut expected = Vec::new();
            for (noise, nonce, generation) in parts {
                let marker = Marker { kind: MarkerKind::Ack, nonce, generation };
                stream.extend(noise);
                stream.extend(marker.encode(MAGIC));
                expected.push((stream.len(), marker));
            }
            stream.extend(after);
            // Noise can complete a magic with what stands before or after it; such streams have
            // more magics than markers and say nothing.
            let magics = stream.windows(MAGIC_LEN).filter(|w| *w == MAGIC.0).count();
            prop_assume!(magics == expected.len());
            prop_assert_eq!(scan(&stream, &cuts), expected);
        }

        #[test]
        fn any_bytes_are_scanned_to_their_end(
            stream in prop::collection::vec(any::<u8>(), 0..200),
            cuts in prop::collection::vec(any::<usize>(), 0..10),
        ) {
            scan(&stream, &cuts);
        }
    }
}
