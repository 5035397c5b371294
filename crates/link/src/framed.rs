//! Frames of [`banger_proto::guest::frame`] over any tokio byte stream: streams of the guest
//! link, unix sockets, upgraded HTTP connections.
//!
//! Responsible for cutting bytes into frames and back, and for bounding what a hostile peer can
//! make this side store. What the frames mean belongs to their services; the header's format
//! belongs to the protocol crate.

use banger_proto::guest::frame::{
    DATA_CHUNK, Frame, FrameError, HEADER_LEN, Kind, decode_header, encode_header,
};
use bytes::BufMut;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

/// Capacity a writer keeps between two frames; a larger buffer is given back after its frame.
const KEPT_CAPACITY: usize = DATA_CHUNK + HEADER_LEN;

/// Why frames could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FramedError {
    /// The byte stream failed.
    #[error("frame stream failed")]
    Io(#[from] std::io::Error),
    /// The bytes are not frames, or a value is no payload.
    #[error("frame stream carries a bad frame")]
    Frame(#[from] FrameError),
    /// The stream ended inside a frame.
    #[error("frame stream ended inside a frame")]
    Truncated,
}

/// Splits a duplex stream into a reader and a writer of frames.
pub fn framed<S>(stream: S) -> (FrameReader<ReadHalf<S>>, FrameWriter<WriteHalf<S>>)
where
    S: AsyncRead + AsyncWrite,
{
    let (reader, writer) = tokio::io::split(stream);
    (FrameReader::new(reader), FrameWriter::new(writer))
}

/// Reads frames. It never reads past the frame it returns, so that the stream can be handed to
/// another owner ([`into_inner`](Self::into_inner)) between two frames.
///
/// A payload's memory grows with the bytes that arrive, at most [`DATA_CHUNK`] ahead of them: a
/// header alone makes nobody allocate the length it claims.
#[derive(Debug)]
pub struct FrameReader<R> {
    inner: R,
    header: [u8; HEADER_LEN],
    /// Bytes of `header` that have arrived.
    header_filled: usize,
    payload: Vec<u8>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader whose next byte is the first of a frame.
    pub fn new(inner: R) -> Self {
        Self { inner, header: [0; HEADER_LEN], header_filled: 0, payload: Vec::new() }
    }

    /// The next frame, or `None` when the stream ended between two frames.
    ///
    /// Cancel-safe: dropping the future loses nothing, the next call goes on where it stopped.
    ///
    /// # Errors
    /// On I/O errors, malformed headers and an end inside a frame. The stream is then of no use.
    pub async fn next(&mut self) -> Result<Option<Frame>, FramedError> {
        while self.header_filled < HEADER_LEN {
            match self.inner.read(&mut self.header[self.header_filled..]).await? {
                0 if self.header_filled == 0 => return Ok(None),
                0 => return Err(FramedError::Truncated),
                n => self.header_filled += n,
            }
        }
        let (kind, len) = decode_header(self.header)?;
        while self.payload.len() < len {
            let missing = len - self.payload.len();
            if self.payload.capacity() == self.payload.len() {
                self.payload.reserve_exact(missing.min(DATA_CHUNK.max(self.payload.len())));
            }
            let room = missing.min(self.payload.capacity() - self.payload.len());
            if self.inner.read_buf(&mut (&mut self.payload).limit(room)).await? == 0 {
                return Err(FramedError::Truncated);
            }
        }
        self.header_filled = 0;
        Ok(Some(Frame { kind, payload: std::mem::take(&mut self.payload) }))
    }

    /// The bytes that follow the last frame that [`next`](Self::next) returned, for a stream that
    /// goes on without frames; positioned as for [`into_inner`](Self::into_inner).
    pub fn bytes(&mut self) -> &mut R {
        &mut self.inner
    }

    /// The stream itself, positioned after the last frame that [`next`](Self::next) returned,
    /// provided no call of it was dropped half-way since.
    pub fn into_inner(self) -> R {
        self.inner
    }
}

/// Writes frames; each send is one write where the stream allows it, and flushes.
///
/// Dropping the future of a send never tears a frame: either none of it was taken over, or what
/// is left of it goes out before the next frame (or with [`shutdown`](Self::shutdown)).
#[derive(Debug)]
pub struct FrameWriter<W> {
    inner: W,
    /// The frame being written.
    frame: Vec<u8>,
    /// Bytes of `frame` already written.
    written: usize,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// A writer between two frames.
    pub fn new(inner: W) -> Self {
        Self { inner, frame: Vec::new(), written: 0 }
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// On I/O errors and when the payload is over the limit of the protocol.
    pub async fn send(&mut self, frame: &Frame) -> Result<(), FramedError> {
        self.send_one(frame.kind, &frame.payload).await
    }

    /// Sends one frame with `value` as JSON.
    ///
    /// # Errors
    /// As [`send`](Self::send), and when `value` cannot be JSON.
    pub async fn send_json(
        &mut self,
        kind: Kind,
        value: &impl Serialize,
    ) -> Result<(), FramedError> {
        // Serialised first, so that the future holds no reference to `value` across a wait.
        let frame = Frame::json(kind, value)?;
        self.send(&frame).await
    }

    /// Sends `bytes` in as many frames as it takes, none longer than [`DATA_CHUNK`]; one empty
    /// frame when there are no bytes.
    ///
    /// # Errors
    /// On I/O errors.
    pub async fn send_bytes(&mut self, kind: Kind, bytes: &[u8]) -> Result<(), FramedError> {
        if bytes.is_empty() {
            return self.send_one(kind, bytes).await;
        }
        for chunk in bytes.chunks(DATA_CHUNK) {
            self.send_one(kind, chunk).await?;
        }
        Ok(())
    }

    /// Finishes a frame whose send was dropped, then shuts the stream's sending side down.
    ///
    /// # Errors
    /// On I/O errors.
    pub async fn shutdown(&mut self) -> Result<(), FramedError> {
        self.finish_frame().await?;
        Ok(self.inner.shutdown().await?)
    }

    /// The place for bytes after the last frame that was sent to its end, for a stream that goes
    /// on without frames.
    pub fn bytes(&mut self) -> &mut W {
        &mut self.inner
    }

    /// The stream itself.
    pub fn into_inner(self) -> W {
        self.inner
    }

    async fn send_one(&mut self, kind: Kind, payload: &[u8]) -> Result<(), FramedError> {
        let header = encode_header(kind, payload.len())?;
        self.finish_frame().await?;
        // Header and payload go out in one write: on the guest link a write is a yamux frame,
        // and a frame is a notification of the other side's kernel.
        self.frame.reserve_exact(HEADER_LEN + payload.len());
        self.frame.extend_from_slice(&header);
        self.frame.extend_from_slice(payload);
        self.finish_frame().await?;
        Ok(self.inner.flush().await?)
    }

    async fn finish_frame(&mut self) -> Result<(), FramedError> {
        while self.written < self.frame.len() {
            match self.inner.write(&self.frame[self.written..]).await? {
                0 => return Err(FramedError::Io(std::io::ErrorKind::WriteZero.into())),
                n => self.written += n,
            }
        }
        self.written = 0;
        self.frame.clear();
        self.frame.shrink_to(KEPT_CAPACITY);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use banger_proto::guest::frame::MAX_PAYLOAD;
    use futures_util::FutureExt;
    use tokio::io::duplex;

    use super::*;

    #[tokio::test]
    async fn frames_arrive_as_sent_and_the_end_is_clean() {
        let (near, far) = duplex(1 << 22);
        let (_, mut writer) = framed(near);
        let (mut reader, _keep) = framed(far);
        let big = vec![7; MAX_PAYLOAD];
        writer.send(&Frame::new(Kind::Stdout, big.clone())).await.unwrap();
        writer.send_json(Kind::Event, &"né").await.unwrap();
        writer.send_bytes(Kind::Data, &vec![9; 2 * DATA_CHUNK + 1]).await.unwrap();
        writer.send_bytes(Kind::End, &[]).await.unwrap();
        writer.shutdown().await.unwrap();

        assert_eq!(reader.next().await.unwrap().unwrap(), Frame::new(Kind::Stdout, big));
        assert_eq!(reader.next().await.unwrap().unwrap().parse::<String>().unwrap(), "né");
        let mut lengths = Vec::new();
        while let Some(frame) = reader.next().await.unwrap() {
            lengths.push((frame.kind, frame.payload.len()));
        }
        let data = |len| (Kind::Data, len);
        assert_eq!(lengths, [data(DATA_CHUNK), data(DATA_CHUNK), data(1), (Kind::End, 0)]);
    }

    #[tokio::test]
    async fn a_dropped_next_loses_nothing() {
        let (mut near, far) = duplex(64);
        let mut reader = FrameReader::new(far);
        let mut bytes = encode_header(Kind::Data, 300).unwrap().to_vec();
        bytes.extend((0..300u16).map(|n| n as u8));
        let mut got = None;
        for byte in &bytes {
            assert!(got.is_none());
            near.write_all(&[*byte]).await.unwrap();
            // Polled once and dropped, at every possible position in the frame.
            got = reader.next().now_or_never();
        }
        assert_eq!(got.unwrap().unwrap().unwrap().payload, &bytes[HEADER_LEN..]);
    }

    #[tokio::test]
    async fn a_dropped_send_tears_nothing() {
        let (near, far) = duplex(16);
        let mut writer = FrameWriter::new(near);
        let mut reader = FrameReader::new(far);
        assert!(writer.send_bytes(Kind::Stdin, &[1; 100]).now_or_never().is_none());
        let send = async {
            writer.send_bytes(Kind::Stdin, &[2; 100]).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let receive = async {
            let mut frames = Vec::new();
            while let Some(frame) = reader.next().await.unwrap() {
                frames.push(frame.payload);
            }
            frames
        };
        let ((), frames) = tokio::join!(send, receive);
        assert_eq!(frames, [vec![1; 100], vec![2; 100]]);
    }

    #[tokio::test]
    async fn an_end_inside_a_frame_is_an_error() {
        let whole = [Kind::Data as u8, 0, 0, 0, 2, 1, 2];
        for cut in 1..whole.len() {
            let mut reader = FrameReader::new(&whole[..cut]);
            assert!(matches!(reader.next().await, Err(FramedError::Truncated)), "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn a_claimed_length_allocates_little_and_a_bad_one_nothing() {
        let (mut near, far) = duplex(64);
        let mut reader = FrameReader::new(far);
        let header = encode_header(Kind::Data, MAX_PAYLOAD).unwrap();
        near.write_all(&header).await.unwrap();
        assert!(reader.next().now_or_never().is_none());
        assert!(reader.payload.capacity() <= DATA_CHUNK);

        let mut reader = FrameReader::new(&[Kind::Data as u8, 0xff, 0xff, 0xff, 0xff][..]);
        for _ in 0..2 {
            let error = reader.next().await.unwrap_err();
            assert!(matches!(error, FramedError::Frame(FrameError::TooLong(_))));
        }
        assert_eq!(reader.payload.capacity(), 0);
    }

    #[tokio::test]
    async fn the_reader_takes_nothing_past_its_frame() {
        let bytes = [Kind::Accepted as u8, 0, 0, 0, 2, b'{', b'}', b'r', b'a', b'w'];
        let mut reader = FrameReader::new(&bytes[..]);
        reader.next().await.unwrap().unwrap();
        assert_eq!(reader.into_inner(), b"raw");
    }
}
