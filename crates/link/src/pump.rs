//! The pump: everything between the byte stream and the multiplexing on top of it.
//!
//! It buffers little, looks for markers in every byte that arrives, and holds the cure for a
//! deadlock of the multiplexing: yamux stops reading while an answer of its own waits for a
//! blocked write. When both ends do that, with bulk data in both directions, neither ever reads
//! again. So whoever drives yamux calls [`Pump::relieve`] after it: when yamux is waiting, but
//! not for input, the pump reads on in its place and keeps the bytes until yamux wants them.
//!
//! ```text
//!                 poll_read  ┌─────────┐ scan
//!        yamux ◀─────────────│  input  │◀───────────┐
//!          │                 └─────────┘            │
//!          │                  ▲ relieve: grows      byte stream
//!          │                                        │
//!          │      poll_write ┌─────────┐            │
//!          └────────────────▶│ output  │───────────▶┘
//!                            └─────────┘ small writes joined until the flush
//! ```

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::marker::{Magic, Marker, Scanner};

/// Bytes asked of the byte stream at once, and the size above which a reader's own buffer is
/// filled directly. Two pages: the small frames of a busy link come in one read, and an idle
/// link holds no more than this.
const READ_CHUNK: usize = 8 << 10;

/// Bytes read at once while yamux is not reading.
const RELIEF_CHUNK: usize = 64 << 10;

/// Bytes kept at most for a yamux that is not reading. Its peer can send 256 KiB on each stream
/// without an answer; past this many the ends wait for each other after all.
const RELIEF_LIMIT: usize = 64 << 20;

/// Writes up to this size are joined with their neighbours until the flush: a header and a
/// small payload then leave in one piece.
const JOIN_LIMIT: usize = 4 << 10;

/// How the byte stream ended: `Ok` at its end, `Err` when it failed.
pub(crate) type StreamEnd = io::Result<()>;

/// The byte stream with its buffers. Before a session [`poll_marker`](Self::poll_marker) reads
/// it, inside one [`poll_read`](Self::poll_read), [`relieve`](Self::relieve) and the writes.
#[derive(Debug)]
pub(crate) struct Pump<T> {
    io: T,
    magic: Magic,
    scanner: Scanner,
    /// Read and not yet taken. Inside a session it has been scanned.
    input: BytesMut,
    /// `input` has grown for a yamux that was not reading.
    relieved: bool,
    /// Written by the session and not yet by the byte stream.
    output: Vec<u8>,
    /// Bytes of `output` that the byte stream has taken.
    written: usize,
    /// A magic arrived inside the session, which is therefore over.
    interrupted: bool,
    /// The session's last read is waiting for the byte stream.
    read_waits: bool,
    /// The session's last write is waiting for the byte stream.
    write_waits: bool,
    /// No byte will ever arrive again.
    ended: Option<StreamEnd>,
    /// Why no byte can be written any more. Reading goes on: what the peer sent before it died
    /// counts, an exit status most of all.
    write_error: Option<io::Error>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Pump<T> {
    pub(crate) fn new(io: T, magic: Magic) -> Self {
        Self {
            io,
            magic,
            scanner: Scanner::new(magic),
            input: BytesMut::new(),
            relieved: false,
            output: Vec::new(),
            written: 0,
            interrupted: false,
            read_waits: false,
            write_waits: false,
            ended: None,
            write_error: None,
        }
    }

    /// Whether markers or session bytes still wait to be written.
    pub(crate) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Queues a marker behind the output; it leaves with the next flush.
    pub(crate) fn queue(&mut self, marker: Marker) {
        self.output.extend_from_slice(&marker.encode(self.magic));
    }

    /// The next marker. Every other byte before it is dropped, every byte after it kept.
    /// Writes what is queued meanwhile.
    pub(crate) fn poll_marker(&mut self, cx: &mut Context<'_>) -> Poll<Result<Marker, StreamEnd>> {
        // An answer that cannot be written yet must not keep the next question from being read.
        let _ = self.poll_flush(cx);
        loop {
            let (used, marker) = self.scanner.next_marker(&self.input);
            self.input.advance(used);
            if let Some(marker) = marker {
                return Poll::Ready(Ok(marker));
            }
            if let Some(end) = self.ended.take() {
                return Poll::Ready(Err(end));
            }
            self.release_input();
            match self.poll_fill(cx, READ_CHUNK) {
                Poll::Ready(()) => {}
                Poll::Pending => {
                    // The bytes read so far may be all the peer could send.
                    return match self.write_error.take() {
                        Some(error) => Poll::Ready(Err(Err(error))),
                        None => Poll::Pending,
                    };
                }
            }
        }
    }

    /// Begins a session with the bytes after the marker that started it.
    pub(crate) fn begin_session(&mut self) {
        self.interrupted = false;
        self.read_waits = false;
        self.write_waits = false;
        self.scan_input_from(0);
    }

    /// Ends a session: forgets what it wanted to write.
    pub(crate) fn end_session(&mut self) {
        self.output = Vec::new();
        self.written = 0;
    }

    /// Whether a magic has ended the session.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted
    }

    /// How the byte stream ended, once, if it has.
    pub(crate) fn take_end(&mut self) -> Option<StreamEnd> {
        self.ended.take().or_else(|| self.write_error.take().map(Err))
    }

    /// Whether the session's last write is still waiting.
    pub(crate) fn write_waits(&self) -> bool {
        self.write_waits
    }

    /// To be called before yamux is polled, so that [`relieve`](Self::relieve) can tell whether
    /// it read.
    pub(crate) fn begin_round(&mut self) {
        self.read_waits = false;
    }

    /// To be called when yamux has nothing to do: reads in its place if it is not reading.
    pub(crate) fn relieve(&mut self, cx: &mut Context<'_>) {
        while !self.read_waits
            && !self.interrupted
            && self.ended.is_none()
            && self.input.len() < RELIEF_LIMIT
        {
            let before = self.input.len();
            match self.poll_fill(cx, RELIEF_CHUNK) {
                Poll::Ready(()) => {
                    self.relieved = true;
                    self.scan_input_from(before);
                }
                Poll::Pending => return,
            }
        }
    }

    /// Reads for the session. 0 bytes when it is over or the byte stream has ended.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.input.is_empty() && !self.interrupted && self.ended.is_none() {
            let polled = if into.len() < READ_CHUNK {
                self.poll_fill(cx, READ_CHUNK).map(|()| {
                    self.scan_input_from(0);
                    0
                })
            } else {
                self.poll_direct(cx, into)
            };
            match polled {
                Poll::Ready(0) => {}
                Poll::Ready(n) => return Poll::Ready(Ok(n)),
                // What has been read was all that the peer could send before writing failed.
                Poll::Pending if self.write_error.is_some() => {}
                Poll::Pending => {
                    self.read_waits = true;
                    return Poll::Pending;
                }
            }
        }
        if self.interrupted {
            return Poll::Ready(Ok(0));
        }
        let n = into.len().min(self.input.len());
        self.input.copy_to_slice(&mut into[..n]);
        self.release_input();
        Poll::Ready(Ok(n))
    }

    /// Writes for the session: accepts small writes at once and whole, until the byte stream
    /// blocks.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = self.poll_write_some(cx, bytes);
        self.write_waits = polled.is_pending();
        match polled {
            Poll::Ready(Err(error)) => {
                self.fail_writes(error);
                Poll::Ready(Ok(bytes.len()))
            }
            other => other,
        }
    }

    /// Writes everything out.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match ready!(self.poll_drain(cx)) {
            Ok(()) => ready!(Pin::new(&mut self.io).poll_flush(cx)),
            error => error,
        };
        if let Err(error) = flushed {
            self.fail_writes(error);
        }
        Poll::Ready(Ok(()))
    }

    fn fail_writes(&mut self, error: io::Error) {
        self.end_session();
        self.write_error = Some(error);
    }

    fn poll_write_some(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.write_error.is_some() {
            return Poll::Ready(Ok(bytes.len()));
        }
        if self.output.len() >= JOIN_LIMIT {
            ready!(self.poll_drain(cx))?;
        }
        if bytes.len() <= JOIN_LIMIT {
            self.output.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        while self.written < self.output.len() {
            let slices = [IoSlice::new(&self.output[self.written..]), IoSlice::new(bytes)];
            let n = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &slices))?;
            let queued = self.output.len() - self.written;
            self.note_written(n.min(queued))?;
            if n > queued {
                return Poll::Ready(Ok(n - queued));
            }
        }
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.output.len() {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, &self.output[self.written..]))?;
            self.note_written(n)?;
        }
        Poll::Ready(Ok(()))
    }

    fn note_written(&mut self, n: usize) -> io::Result<()> {
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.written += n;
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        }
        Ok(())
    }

    /// Reads up to `room` bytes behind the input. Ready with none when the byte stream ended.
    fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<()> {
        self.input.reserve(room);
        let io = Pin::new(&mut self.io);
        match ready!(poll_read_buf(io, cx, &mut (&mut self.input).limit(room))) {
            Ok(0) => self.ended = Some(Ok(())),
            Ok(_) => {}
            Err(error) => self.ended = Some(Err(error)),
        }
        Poll::Ready(())
    }

    /// Reads into the session's own buffer. Ready with none when the byte stream ended or a
    /// magic was among the bytes; those after it are then in the input.
    fn poll_direct(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<usize> {
        let mut buf = ReadBuf::new(into);
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf));
        let bytes = buf.filled();
        match read {
            Ok(()) if bytes.is_empty() => self.ended = Some(Ok(())),
            Ok(()) => match self.scanner.find_magic(bytes) {
                None => return Poll::Ready(bytes.len()),
                Some(end) => {
                    self.input.extend_from_slice(&bytes[end..]);
                    self.interrupted = true;
                }
            },
            Err(error) => self.ended = Some(Err(error)),
        }
        Poll::Ready(0)
    }

    /// Gives a large empty input buffer back.
    fn release_input(&mut self) {
        if self.input.is_empty() && std::mem::take(&mut self.relieved) {
            self.input = BytesMut::new();
        }
    }

    /// Looks for a magic in the input from `start` on. One ends the session: what came before
    /// is dropped, what comes after stays for [`poll_marker`](Self::poll_marker).
    fn scan_input_from(&mut self, start: usize) {
        if let Some(end) = self.scanner.find_magic(&self.input[start..]) {
            self.input.advance(start + end);
            self.interrupted = true;
        }
    }
}

#[cfg(test)]
mod tests;
