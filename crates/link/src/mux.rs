//! One session's multiplexing: yamux with banger's settings on a [`Pump`].
//!
//! Responsible for driving yamux, for seeing why it stopped, and for two things yamux has no
//! setting for:
//!
//! * Its pings are not sent. They only feed the window's auto-tuning, which is off, and every
//!   answer to one is a chance for the deadlock that the pump cures.
//! * It answers a peer that breaks the rules with a farewell and goes on. Here the session ends
//!   at once.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use banger_proto::guest::frame::{DATA_CHUNK, HEADER_LEN};
use tokio::io::{AsyncRead, AsyncWrite};
use yamux::{ConnectionError, FrameDecodeError};

use crate::LinkError;
use crate::pump::Pump;

/// Streams that one end of a session may have, the other's included.
pub(crate) const MAX_STREAMS: usize = 512;

/// Bytes of a frame's header in yamux: `version, type, flags (2), stream (4), length (4)`.
const YAMUX_HEADER_LEN: usize = 12;

/// Types of yamux frames in their header's second byte.
const YAMUX_DATA: u8 = 0;
const YAMUX_PING: u8 = 2;
const YAMUX_GO_AWAY: u8 = 3;

/// The flag of an answer, in the low byte of the header's flags.
const YAMUX_ACK: u8 = 2;

/// A pump that yamux and the one who drives it both use; never from two tasks at once.
pub(crate) type SharedPump<T> = Arc<Mutex<Pump<T>>>;

/// The pump for the length of a call.
pub(crate) fn lock<T>(pump: &Mutex<Pump<T>>) -> MutexGuard<'_, Pump<T>> {
    pump.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a session is over.
#[derive(Debug)]
pub(crate) enum SessionEnd {
    /// A marker arrived: the peer knows nothing of this session.
    Interrupted,
    /// The byte stream ended or failed.
    Stream(io::Result<()>),
    /// The peer's bytes made no sense.
    Protocol(ConnectionError),
    /// The peer broke a limit.
    Violation,
}

impl From<SessionEnd> for LinkError {
    fn from(end: SessionEnd) -> Self {
        match end {
            SessionEnd::Interrupted => Self::Restarted,
            SessionEnd::Stream(Ok(())) => Self::Ended,
            SessionEnd::Stream(Err(error)) => Self::Io(error),
            SessionEnd::Protocol(error) => Self::Protocol(error),
            SessionEnd::Violation => Self::Violation,
        }
    }
}

/// One running session.
#[derive(Debug)]
pub(crate) struct Mux<T> {
    pump: SharedPump<T>,
    connection: yamux::Connection<Wire<T>>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Mux<T> {
    /// A session on a pump that stands just after the marker that starts it.
    pub(crate) fn new(pump: SharedPump<T>, mode: yamux::Mode) -> Self {
        lock(&pump).begin_session();
        let mut config = yamux::Config::default();
        config.set_max_num_streams(MAX_STREAMS);
        // No more than the least for so many streams: the windows stay at 256 KiB. Growing
        // ones triple the latency of the other streams under load.
        let windows = MAX_STREAMS * yamux::DEFAULT_CREDIT as usize;
        config.set_max_connection_receive_window(Some(windows));
        // One frame of the guest protocol is one frame of yamux.
        config.set_split_send_size(DATA_CHUNK + HEADER_LEN);
        let wire = Wire { pump: pump.clone(), body_left: 0, said_farewell: false };
        Self { pump, connection: yamux::Connection::new(wire, config, mode) }
    }

    /// Moves everything that can move, until the peer opens a stream or the session is over.
    pub(crate) fn poll_inbound(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<yamux::Stream, SessionEnd>> {
        lock(&self.pump).begin_round();
        let polled = self.connection.poll_next_inbound(cx);
        let mut pump = lock(&self.pump);
        if polled.is_pending() {
            pump.relieve(cx);
        }
        if pump.is_interrupted() {
            return Poll::Ready(Err(SessionEnd::Interrupted));
        }
        drop(pump);
        match polled {
            Poll::Ready(Some(Ok(stream))) => Poll::Ready(Ok(stream)),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(self.end_of(error))),
            Poll::Ready(None) => Poll::Ready(Err(self.end_of(ConnectionError::Closed))),
            Poll::Pending => Poll::Pending,
        }
    }

    /// A new stream; waits while the peer has too many to acknowledge.
    pub(crate) fn poll_open(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<yamux::Stream, SessionEnd>> {
        self.connection.poll_new_outbound(cx).map_err(|error| self.end_of(error))
    }

    /// Whether yamux has seen every stream that was dropped before the last
    /// [`poll_inbound`](Self::poll_inbound): it looks only when it is not waiting to write.
    pub(crate) fn is_settled(&self) -> bool {
        !lock(&self.pump).write_waits()
    }

    fn end_of(&self, error: ConnectionError) -> SessionEnd {
        if let ConnectionError::Io(error) | ConnectionError::Decode(FrameDecodeError::Io(error)) =
            &error
            && error.get_ref().is_some_and(|inner| inner.is::<Farewell>())
        {
            return SessionEnd::Violation;
        }
        match lock(&self.pump).take_end() {
            Some(end) => SessionEnd::Stream(end),
            None => SessionEnd::Protocol(error),
        }
    }
}

/// What yamux sees of the pump.
#[derive(Debug)]
struct Wire<T> {
    pump: SharedPump<T>,
    /// Bytes of the frame being written that are still to come.
    body_left: usize,
    said_farewell: bool,
}

/// Yamux wanted to end the session because of what the peer did.
#[derive(Debug, thiserror::Error)]
#[error("the peer broke a limit")]
struct Farewell;

impl<T: AsyncRead + AsyncWrite + Unpin> futures_util::io::AsyncRead for Wire<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.said_farewell {
            return Poll::Ready(Err(io::Error::other(Farewell)));
        }
        lock(&self.pump).poll_read(cx, buf)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> futures_util::io::AsyncWrite for Wire<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.body_left > 0 {
            let polled = lock(&this.pump).poll_write(cx, buf);
            if let Poll::Ready(Ok(n)) = &polled {
                this.body_left = this.body_left.saturating_sub(*n);
            }
            return polled;
        }
        // Between two frames yamux writes a header, and the pump takes small writes whole.
        let Some(header) = buf.first_chunk::<YAMUX_HEADER_LEN>() else {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        };
        let [_version, kind, _, flags, _, _, _, _, length @ ..] = *header;
        if kind == YAMUX_GO_AWAY {
            this.said_farewell = true;
            return Poll::Ready(Err(io::Error::other(Farewell)));
        }
        if kind == YAMUX_PING && flags & YAMUX_ACK == 0 {
            return Poll::Ready(Ok(YAMUX_HEADER_LEN));
        }
        let polled = lock(&this.pump).poll_write(cx, header);
        if polled.is_ready() && kind == YAMUX_DATA {
            this.body_left = u32::from_be_bytes(length) as usize;
        }
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.pump).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
