//! One stream of a session, as tokio's reading and writing.
//!
//! ```text
//!            shutdown()                    the peer's end is read
//!   open ──────────────────▶ half-closed ─────────────────────────▶ closed
//!    │ drop: the peer's reads and writes fail
//!    │                          │ drop: what the peer still sends is read and forgotten
//!    ▼                          ▼
//!   reset                    draining
//! ```

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use futures_util::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes read at once: one frame of bulk data. A reader's larger buffer need not be zeroed
/// for a few bytes.
const READ_AT_ONCE: usize = 64 << 10;

/// What the streams of one session share with whoever drives it.
#[derive(Debug, Default)]
pub(crate) struct Tie {
    /// The session is over.
    over: AtomicBool,
}

impl Tie {
    /// Marks the session as over. To be called before yamux is dropped, which closes streams
    /// just like a peer does that has said all.
    pub(crate) fn cut(&self) {
        self.over.store(true, Ordering::Release);
    }
}

/// One stream of the guest link.
///
/// The peer learns of a stream that was opened with its first byte or its shutdown. When the
/// session dies or the peer resets the stream, writing fails with `BrokenPipe`; reading gives
/// what arrived before and then fails with `ConnectionReset`, never a false end.
///
/// Dropping it resets it, unless it was [shut down](tokio::io::AsyncWriteExt::shutdown): then
/// the peer has been told the end properly, and a background task reads what it still sends, so
/// that its writes do not hang for good. A shutdown is thus a promise to hear the peer out; who
/// loses interest drops the stream without one.
pub struct LinkStream {
    /// `None` only while dropping.
    inner: Option<yamux::Stream>,
    /// After `inner`: a stream counts until yamux can know that it is gone.
    tie: Arc<Tie>,
    /// Something was written, so the peer knows the stream.
    announced: bool,
    shut_down: bool,
    read_to_end: bool,
}

impl fmt::Debug for LinkStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkStream")
            .field("inner", &self.inner)
            .field("shut_down", &self.shut_down)
            .field("read_to_end", &self.read_to_end)
            .finish_non_exhaustive()
    }
}

impl LinkStream {
    /// A stream that this side opened.
    pub(crate) fn opened(inner: yamux::Stream, tie: Arc<Tie>) -> Self {
        Self::new(inner, tie, false)
    }

    /// A stream that the peer opened.
    pub(crate) fn accepted(inner: yamux::Stream, tie: Arc<Tie>) -> Self {
        Self::new(inner, tie, true)
    }

    fn new(inner: yamux::Stream, tie: Arc<Tie>, announced: bool) -> Self {
        Self { inner: Some(inner), tie, announced, shut_down: false, read_to_end: false }
    }

    fn inner(&mut self) -> io::Result<Pin<&mut yamux::Stream>> {
        self.inner.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Whether the end of the data that was just read is not one the peer has spoken.
    fn is_cut(&self) -> bool {
        let closed = self.inner.as_ref().is_none_or(yamux::Stream::is_closed);
        // After a shutdown `closed` is also what the peer's proper end leads to.
        closed && (!self.shut_down || self.tie.over.load(Ordering::Acquire))
    }
}

impl AsyncRead for LinkStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read_to_end || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let room = buf.remaining().min(READ_AT_ONCE);
        let n = ready!(self.inner()?.poll_read(cx, buf.initialize_unfilled_to(room)))?;
        if n == 0 {
            if self.is_cut() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            self.read_to_end = true;
        }
        buf.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LinkStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.shut_down {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let written = ready!(self.inner()?.poll_write(cx, buf)).map_err(broken_pipe)?;
        self.announced = true;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner()?.poll_flush(cx).map_err(broken_pipe)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.shut_down {
            return Poll::Ready(Ok(()));
        }
        if !self.announced {
            // Yamux announces a stream with its first data frame, and only with that.
            ready!(self.inner()?.poll_write(cx, &[])).map_err(broken_pipe)?;
            self.announced = true;
        }
        ready!(self.inner()?.poll_close(cx)).map_err(broken_pipe)?;
        self.shut_down = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for LinkStream {
    fn drop(&mut self) {
        let unheard = self.shut_down && !self.read_to_end;
        let Some(mut inner) = self.inner.take().filter(|inner| unheard && !inner.is_closed())
        else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let tie = self.tie.clone();
        runtime.spawn(async move {
            let mut sink = [0; 4 << 10];
            while matches!(inner.read(&mut sink).await, Ok(1..)) {}
            drop(inner);
            drop(tie);
        });
    }
}

/// Yamux calls every impossible write a write of nothing.
fn broken_pipe(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, error)
}
