//! Frames: `[u8 kind][u32 length, big endian][length bytes]`, the same on the guest link and on
//! an upgraded HTTP connection.
//!
//! The decoder treats its input as hostile: an unknown kind or a length over
//! [`MAX_PAYLOAD`] is an error before a byte of the payload is stored.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest payload of one frame in bytes.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// Bytes before the payload.
pub const HEADER_LEN: usize = 5;

/// Size in which bulk data is cut into frames: one yamux send of the guest link.
pub const DATA_CHUNK: usize = 64 << 10;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// JSON [`Service`](super::Service): first frame of a stream.
    Open = 1,
    /// JSON reply of the service.
    Accepted = 2,
    /// JSON [`Problem`](crate::Problem): last frame of the stream.
    Refused = 3,
    /// JSON of something that happened.
    Event = 4,
    /// Bytes for the command's standard input, within
    /// [`STDIN_WINDOW`](super::STDIN_WINDOW).
    Stdin = 16,
    /// Bytes of the command's standard output, or of its terminal.
    Stdout = 17,
    /// Bytes of the command's standard error.
    Stderr = 18,
    /// End of standard input; empty.
    StdinEnd = 19,
    /// JSON [`TerminalSize`](super::TerminalSize).
    Resize = 20,
    /// One byte: number of a signal for the command's process group.
    Signal = 21,
    /// JSON [`ExecExit`](super::ExecExit): last frame of an exec stream, exactly once.
    Exit = 22,
    /// JSON [`StdinTaken`](super::StdinTaken): how much more standard input may be sent.
    StdinTaken = 23,
    /// Bytes of a file stream.
    Data = 32,
    /// End of a file stream; empty.
    End = 33,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::Open,
        Self::Accepted,
        Self::Refused,
        Self::Event,
        Self::Stdin,
        Self::Stdout,
        Self::Stderr,
        Self::StdinEnd,
        Self::Resize,
        Self::Signal,
        Self::Exit,
        Self::StdinTaken,
        Self::Data,
        Self::End,
    ];

    /// The kind with this number on the wire.
    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it carries.
    pub kind: Kind,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// Why bytes are not frames, or a frame not what was expected.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A kind this build does not know.
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    /// A length over the limit.
    #[error("frame of {0} bytes is over the limit of {MAX_PAYLOAD}")]
    TooLong(usize),
    /// A payload that is not the JSON its kind demands.
    #[error("frame {kind:?} has a malformed payload")]
    Payload {
        /// Kind of the frame.
        kind: Kind,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
}

impl Frame {
    /// A frame with these bytes.
    #[must_use]
    pub fn new(kind: Kind, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, payload: payload.into() }
    }

    /// A frame with `value` as JSON.
    ///
    /// # Errors
    /// When `value` cannot be JSON (a map with keys that are no strings).
    pub fn json(kind: Kind, value: &impl Serialize) -> Result<Self, FrameError> {
        let payload =
            serde_json::to_vec(value).map_err(|source| FrameError::Payload { kind, source })?;
        Ok(Self { kind, payload })
    }

    /// The payload read as JSON.
    ///
    /// # Errors
    /// When the payload is not JSON of `T`, bad UTF-8 included.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, FrameError> {
        serde_json::from_slice(&self.payload)
            .map_err(|source| FrameError::Payload { kind: self.kind, source })
    }

    /// The header that goes before the payload.
    ///
    /// # Errors
    /// When the payload is over [`MAX_PAYLOAD`].
    pub fn header(&self) -> Result<[u8; HEADER_LEN], FrameError> {
        encode_header(self.kind, self.payload.len())
    }
}

/// Header of a frame of `kind` with `len` payload bytes.
///
/// # Errors
/// When `len` is over [`MAX_PAYLOAD`].
pub fn encode_header(kind: Kind, len: usize) -> Result<[u8; HEADER_LEN], FrameError> {
    let length = u32::try_from(len)
        .ok()
        .filter(|_| len <= MAX_PAYLOAD)
        .ok_or(FrameError::TooLong(len))?
        .to_be_bytes();
    Ok([kind as u8, length[0], length[1], length[2], length[3]])
}

/// Reads a header: the kind and the payload's length in bytes.
///
/// # Errors
/// On an unknown kind or a length over [`MAX_PAYLOAD`].
pub fn decode_header(header: [u8; HEADER_LEN]) -> Result<(Kind, usize), FrameError> {
    let [kind, length @ ..] = header;
    let kind = Kind::from_byte(kind).ok_or(FrameError::UnknownKind(kind))?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_PAYLOAD { Err(FrameError::TooLong(length)) } else { Ok((kind, length)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_hostile_headers() {
        assert!(matches!(decode_header([99, 0, 0, 0, 0]), Err(FrameError::UnknownKind(99))));
        assert!(matches!(
            decode_header([Kind::Data as u8, 0xff, 0xff, 0xff, 0xff]),
            Err(FrameError::TooLong(0xffff_ffff))
        ));
        assert!(encode_header(Kind::Data, MAX_PAYLOAD + 1).is_err());
    }

    #[test]
    fn bad_utf8_is_an_error_not_a_panic() {
        let frame = Frame::new(Kind::Exit, [0xff, 0xfe]);
        assert!(matches!(frame.parse::<crate::guest::ExecExit>(), Err(FrameError::Payload { .. })));
    }

    proptest! {
        #[test]
        fn headers_round_trip(kind in prop::sample::select(Kind::ALL.to_vec()), len in 0..=MAX_PAYLOAD) {
            let header = encode_header(kind, len).unwrap();
            prop_assert_eq!(decode_header(header).unwrap(), (kind, len));
        }

        #[test]
        fn any_header_decodes_or_errs(header: [u8; HEADER_LEN]) {
            if let Ok((kind, len)) = decode_header(header) {
                prop_assert_eq!(encode_header(kind, len).unwrap(), header);
            }
        }
    }
}
