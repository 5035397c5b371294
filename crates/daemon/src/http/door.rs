//! Taking connections, as many as the process can have open files for.
//!
//! A process without a free descriptor can neither accept nor say so. So connections have places,
//! and the last ones are for saying that there are no more:
//!
//! ```text
//! 0                                 places - SPARE            places
//! ├─ served ────────────────────────┼─ told that it is full ──┤  waits in the socket's queue
//! ```
//!
//! A connection that closes gives its place to the next, which is the event that waiting ends with.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::serve::Listener;
use banger_proto::{Code, Problem};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Open files for each connection: its own, one to a guest, and one for all that no connection has
/// (database, log, what watches a VM, programs).
const FILES_EACH: u64 = 3;
/// Connections that are only told that there are too many.
const SPARE: usize = 4;
/// Most places, whatever the limit: more clients than one user has.
const MOST: u64 = 16_384;
/// How long to wait when the whole host has run out of something: no event tells that there is
/// room again.
const SHORTAGE_PAUSE: Duration = Duration::from_secs(1);
/// How long the log is spared the same news: connections come and go at the limit.
const TOLD_FOR: Duration = Duration::from_secs(60);

/// A socket that takes connections while there are places.
#[derive(Debug)]
pub(super) struct Door {
    listener: UnixListener,
    places: Arc<Semaphore>,
    full: Full,
    /// When the log last said that it is full, or that accepting fails.
    told: Option<Instant>,
}

/// Why a connection is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full {
    served: usize,
    /// The share of requests.
    open_files: u64,
}

impl From<Full> for Problem {
    fn from(full: Full) -> Self {
        let Full { served, open_files } = full;
        let message = format!("the daemon serves {served} connections already and takes no more");
        Self::new(Code::OperationFailed, message)
            .cause(format!("requests may have {open_files} files open, their share of its limit"))
            .hint("end commands that wait or follow, and try again")
            .hint(
                "for more: raise the hard limit (`ulimit -Hn` shows it), then `banger daemon stop`",
            )
    }
}

impl Door {
    /// Takes connections on `listener` in a process that may have `open_files` for requests.
    pub(super) fn new(listener: UnixListener, open_files: u64) -> Self {
        let places = usize::try_from((open_files / FILES_EACH).min(MOST)).unwrap_or(usize::MAX);
        // One is served even where that cannot go well for long.
        let places = places.max(SPARE + 1);
        let full = Full { served: places - SPARE, open_files };
        Self { listener, places: Arc::new(Semaphore::new(places)), full, told: None }
    }

    /// The connection in its place, which may be one of the last.
    fn admit(&mut self, stream: UnixStream, place: OwnedSemaphorePermit) -> Visitor {
        let free = self.places.available_permits();
        let full = (free < SPARE).then_some(self.full);
        if let Some(Full { served, open_files }) = full
            && self.is_news()
        {
            tracing::warn!(served, open_files, "no more connections are served");
        }
        Visitor { stream, full, _place: place }
    }

    /// Whether the log has to hear of it, which it then does.
    fn is_news(&mut self) -> bool {
        let news = self.told.is_none_or(|told| told.elapsed() >= TOLD_FOR);
        if news {
            self.told = Some(Instant::now());
        }
        news
    }
}

impl Listener for Door {
    type Io = Visitor;
    type Addr = ();

    async fn accept(&mut self) -> (Visitor, ()) {
        loop {
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
                return std::future::pending().await; // Nobody closes it.
            };
            match self.listener.accept().await {
                Ok((stream, _)) => return (self.admit(stream, place), ()),
                // Its own end of the connection is gone already.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if self.is_news() {
                        tracing::error!(%error, "cannot accept connections");
                    }
                    tokio::time::sleep(SHORTAGE_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection, in a place that is free again when it is dropped.
#[derive(Debug)]
pub(super) struct Visitor {
    stream: UnixStream,
    /// Why it is not served, if it is not.
    pub(super) full: Option<Full>,
    _place: OwnedSemaphorePermit,
}

impl Visitor {
    /// Who is at the other end; absent when the kernel would not tell.
    pub(super) fn uid(&self) -> Option<u32> {
        self.stream.peer_cred().ok().map(|cred| cred.uid())
    }
}

impl AsyncRead for Visitor {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Visitor {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn the_last_places_are_for_saying_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let mut door = Door::new(UnixListener::bind(&path).unwrap(), 3 * (2 + SPARE as u64));
        let mut visitors = Vec::new();
        for _ in 0..2 + SPARE {
            let client = UnixStream::connect(&path).await.unwrap();
            visitors.push((door.accept().await.0, client));
        }
        let served = visitors.iter().filter(|(visitor, _)| visitor.full.is_none());
        assert_eq!(served.count(), 2);
        let problem = Problem::from(visitors.last().unwrap().0.full.unwrap());
        assert!(problem.message.contains("serves 2 connections"), "{problem:?}");
        assert_eq!(problem.causes, ["requests may have 18 files open, their share of its limit"]);

        // One more waits for a place, and for nothing else.
        let _waiting = UnixStream::connect(&path).await.unwrap();
        assert!(door.accept().now_or_never().is_none());
        visitors.pop();
        let deadline = Duration::from_secs(60);
        let (late, ()) = tokio::time::timeout(deadline, door.accept()).await.unwrap();
        assert!(late.full.is_some());
        visitors.truncate(1);
        drop(late);
        let _client = UnixStream::connect(&path).await.unwrap();
        assert!(door.accept().await.0.full.is_none());
    }

    #[tokio::test]
    async fn a_limit_of_any_size_makes_a_door() {
        let dir = tempfile::tempdir().unwrap();
        for (name, limit, served) in [("a", 0, 1), ("b", 64, 17), ("c", u64::MAX, 16_380)] {
            let listener = UnixListener::bind(dir.path().join(name)).unwrap();
            assert_eq!(Door::new(listener, limit).full.served, served);
        }
    }
}
