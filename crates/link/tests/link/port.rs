//! A byte stream like QEMU's serial port under an immediate reconnect: the guest's end never
//! sees the host's go, and what is on the way arrives at whoever holds the host's end next.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

/// The port; the guest's end is an ordinary stream.
pub(crate) struct Port {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    stream: DuplexStream,
    /// Number of the newest host end; older ones are dead.
    newest: usize,
}

/// One holder of the host's end.
pub(crate) struct HostEnd {
    inner: Arc<Mutex<Inner>>,
    number: usize,
}

impl Port {
    /// A port that holds `capacity` bytes on the way in each direction, and its guest's end.
    pub(crate) fn new(capacity: usize) -> (Self, DuplexStream) {
        let (stream, guest) = duplex(capacity);
        (Self { inner: Arc::new(Mutex::new(Inner { stream, newest: 0 })) }, guest)
    }

    /// Takes the host's end from its holder.
    pub(crate) fn attach(&self) -> HostEnd {
        let mut inner = self.inner.lock().unwrap();
        inner.newest += 1;
        HostEnd { inner: self.inner.clone(), number: inner.newest }
    }
}

impl HostEnd {
    fn with<R>(
        &self,
        call: impl FnOnce(Pin<&mut DuplexStream>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        let mut inner = self.inner.lock().unwrap();
        if inner.newest != self.number {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        call(Pin::new(&mut inner.stream))
    }
}

impl AsyncRead for HostEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for HostEnd {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.with(|stream| stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
