//! What must hold for any bytes whatever. The tests try random ones, the fuzz targets in
//! `fuzz/` include this file and look for better ones.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use banger_link::connect_host;
use banger_link::framed::{FrameReader, FramedError};
use banger_link::marker::{Marker, MarkerKind, Scanner};
use banger_proto::guest::frame::{Frame, HEADER_LEN, decode_header};
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf, duplex};

use super::raw::{MAGIC, MAGIC_BYTES, RawGuest};

/// A scanner finds the same markers however the stream is cut, and uses every byte.
pub(crate) fn scanner(script: &[u8], cut: usize) {
    let stream = marked(script);
    let whole = scan(&stream, stream.len().max(1));
    assert_eq!(scan(&stream, cut.max(1)), whole);
}

/// A stream rich in magics, whole ones and parts of them.
fn marked(script: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    for byte in script {
        match byte {
            0xF0.. => stream.extend(&MAGIC_BYTES[..usize::from(byte & 0xF) + 1]),
            0xE0.. => {
                let kind = MarkerKind::Hello;
                let marker = Marker { kind, nonce: [*byte; 16], generation: 1 };
                let bytes = marker.encode(MAGIC);
                let left_out = usize::from(byte & 0xF);
                stream.extend(&bytes[..bytes.len() - left_out]);
            }
            _ => stream.push(*byte),
        }
    }
    stream
}

fn scan(stream: &[u8], cut: usize) -> Vec<(usize, Marker)> {
    let mut scanner = Scanner::new(MAGIC);
    let mut found = Vec::new();
    let mut at = 0;
    for piece in stream.chunks(cut) {
        let end = at + piece.len();
        while at < end {
            let (used, marker) = scanner.next_marker(&stream[at..end]);
            assert!(used > 0 && (marker.is_some() || at + used == end));
            at += used;
            found.extend(marker.map(|marker| (at, marker)));
        }
    }
    found
}

/// A stream that gives `step` bytes at once.
struct Trickle<'a> {
    bytes: &'a [u8],
    step: usize,
}

impl AsyncRead for Trickle<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n = self.step.max(1).min(self.bytes.len()).min(buf.remaining());
        let (now, later) = self.bytes.split_at(n);
        buf.put_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(()))
    }
}

/// A reader gives the frames that stand there, and then says truly how the stream ends.
pub(crate) fn frames(mut bytes: &[u8], step: usize) {
    let mut reader = FrameReader::new(Trickle { bytes, step });
    loop {
        let got = reader.next().now_or_never().expect("a stream that never waits");
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            match got {
                Ok(None) => assert!(bytes.is_empty()),
                Err(FramedError::Truncated) => assert!(!bytes.is_empty()),
                other => panic!("{other:?}"),
            }
            return;
        };
        match (decode_header(*header), got) {
            (Err(_), Err(FramedError::Frame(_))) => return,
            (Ok((_, len)), Err(FramedError::Truncated)) => {
                assert!(rest.len() < len);
                return;
            }
            (Ok((kind, len)), Ok(Some(frame))) => {
                assert_eq!(frame, Frame::new(kind, &rest[..len]));
                bytes = &rest[len..];
            }
            (expected, got) => panic!("{expected:?}, {got:?}"),
        }
    }
}

/// A host whose guest says these bytes after the handshake, and then goes, ends its session and
/// everything that hangs on it.
pub(crate) fn session(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (host, guest) = duplex(1 << 16);
        let connect = tokio::spawn(connect_host(host, MAGIC));
        let mut guest = RawGuest::new(guest);
        guest.shake_hands().await;
        let session = connect.await.unwrap().unwrap();
        let mut own = session.open().await.unwrap();
        let speak = async {
            // Refused when the host has already ended the session.
            let _ = guest.io.write_all(bytes).await;
            let _ = guest.io.shutdown().await;
            let mut answers = Vec::new();
            let _ = guest.io.read_to_end(&mut answers).await;
        };
        let use_own = async {
            let _ = own.write_all(b"first").await;
            let _ = own.read_to_end(&mut Vec::new()).await;
        };
        let accept = async {
            while let Some(mut stream) = session.accept().await {
                // Odd ones are left at once, which resets them.
                if stream.read_u8().await.is_ok_and(|byte| byte % 2 == 0) {
                    let _ = stream.write_all(b"answer").await;
                    let _ = stream.shutdown().await;
                }
            }
        };
        tokio::join!(speak, use_own, accept, session.closed());
    });
}
