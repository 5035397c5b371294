//! The host's end of the guest link: one session after the other, and a socket that gives
//! streams of it to whoever connects.
//!
//! ```text
//!                 guest called              session over
//!   waiting ─────────────────────▶ up ───────────────────────▶ waiting …
//!                                       or the agent is gone
//!      └──────────── the VMM's end of the socket closed ──────────▶ over
//! ```
//!
//! A VMM with a virtio socket gives each session a connection of its own; then the link is over when the VMM is.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use banger_link::{LinkError, LinkStream, Magic, Session, connect_host};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::guest_port::GuestPort;
use super::recorder::Recorder;
use super::state::StateBoard;

/// The session that is up, if one is. The sender is gone when the link is over for good.
pub(super) type Sessions = watch::Receiver<Option<Session>>;

/// Where the VMM's end is.
#[derive(Debug)]
pub(super) enum Link {
    /// At the other end of this socket, for as long as it runs.
    Inherited(StdUnixStream),
    /// At a port of the guest's, to which each session makes a connection.
    Guest(GuestPort),
}

impl Link {
    /// The next transport for a session; `None` when the link is over.
    async fn next(&self, over: &CancellationToken) -> io::Result<Option<Transport>> {
        match self {
            _ if over.is_cancelled() => Ok(None),
            Self::Inherited(socket) => Transport::new(socket, over).map(Some),
            Self::Guest(port) => tokio::select! {
                // What ends with this connection is not the link.
                socket = port.connected() => {
                    Ok(Some(Transport { socket, over: CancellationToken::new() }))
                }
                () = over.cancelled() => Ok(None),
            },
        }
    }
}

/// Keeps a session up until the link is `over`: the VMM's end of it is closed, or whoever saw the VMM's end
/// says so.
pub(super) async fn keep_sessions(
    link: Link,
    magic: Magic,
    sessions: watch::Sender<Option<Session>>,
    agent_gone: Arc<Notify>,
    over: CancellationToken,
    board: StateBoard,
    recorder: Recorder,
) {
    loop {
        let transport = match link.next(&over).await {
            Ok(Some(transport)) => transport,
            Ok(None) => return,
            Err(error) => {
                recorder.log(format_args!("guest link cannot be waited on: {error}"));
                return;
            }
        };
        match connect_host(transport, magic).await {
            Ok(session) => {
                recorder.log("guest link is up");
                sessions.send_replace(Some(session.clone()));
                board.set_link_up(true);
                let reason = tokio::select! {
                    reason = session.closed() => reason.to_string(),
                    () = agent_gone.notified() => "the agent has gone".to_owned(),
                };
                // With its last clone the session is over, and so are its streams.
                drop(session);
                sessions.send_replace(None);
                board.set_link_up(false);
                recorder.log(format_args!("guest link is down: {reason}"));
            }
            Err(error) => recorder.log(format_args!("guest link did not come up: {error}")),
        }
    }
}

/// A stream to the agent, as soon as there is a session; `None` when there will be none, or the
/// session has no room.
pub(super) async fn open_stream(sessions: &mut Sessions) -> Option<LinkStream> {
    loop {
        let session = sessions.wait_for(Option::is_some).await.ok()?.clone()?;
        match session.open().await {
            Ok(stream) => return Some(stream),
            Err(LinkError::TooManyStreams(_)) => return None,
            // It ended meanwhile; what comes next is another one or the end.
            Err(_) => drop(sessions.changed().await.ok()?),
        }
    }
}

/// The link's socket as one session sees it. A session that ends must leave the socket open for
/// the next: shutting down only flushes, and each session has a descriptor of its own.
struct Transport {
    socket: UnixStream,
    /// Set when the VMM's end is closed, so that no further session is tried.
    over: CancellationToken,
}

impl Transport {
    fn new(link: &StdUnixStream, over: &CancellationToken) -> io::Result<Self> {
        Ok(Self { socket: UnixStream::from_std(link.try_clone()?)?, over: over.clone() })
    }

    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.over.cancel();
        }
        result
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.socket).poll_read(cx, buffer));
        if buffer.filled().len() == before && buffer.remaining() > 0 {
            self.over.cancel();
        }
        Poll::Ready(self.note(result))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.socket).poll_write(cx, bytes));
        Poll::Ready(self.note(result))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
