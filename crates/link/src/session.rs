//! The host's session: streams opened and accepted from any task, one task that drives them.
//!
//! Responsible for the limits of streams, so that a session never dies of its own side's
//! eagerness, and for telling everybody when it is over.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use crate::LinkError;
use crate::mux::{MAX_STREAMS, Mux, SharedPump};
use crate::stream::{LinkStream, Tie};

/// Streams that may be open at once on this side. Half of what the multiplexing bears: the
/// other end may take its time to forget streams that are gone here.
const MAX_OPEN: usize = MAX_STREAMS / 2;

/// Streams opened by the other end that may wait to be accepted; more are reset.
const MAX_UNACCEPTED: usize = 16;

/// Requests to open a stream that may wait for the driver.
const MAX_REQUESTS: usize = 16;

/// One session of the guest link. It lives as long as one of its clones; with the last one its
/// streams fail and the byte stream is dropped; what was written and has not left yet is lost.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

struct Shared {
    requests: mpsc::Sender<oneshot::Sender<LinkStream>>,
    inbound: Mutex<mpsc::Receiver<LinkStream>>,
    end: watch::Receiver<Option<Arc<LinkError>>>,
    tie: Arc<Tie>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("end", &*self.shared.end.borrow()).finish_non_exhaustive()
    }
}

impl Session {
    /// Starts the driver of a session on a pump that stands just after its first marker.
    pub(crate) fn start<T>(pump: SharedPump<T>) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (requests, asked) = mpsc::channel(MAX_REQUESTS);
        let (offer, inbound) = mpsc::channel(MAX_UNACCEPTED);
        let (ended, end) = watch::channel(None);
        let tie = Arc::new(Tie::default());
        let mut driver = Driver {
            mux: Mux::new(pump, yamux::Mode::Client),
            tie: tie.clone(),
            asked,
            next: None,
            offer,
            known: 0,
        };
        tokio::spawn(async move {
            let end = poll_fn(|cx| driver.poll_end(cx)).await;
            driver.tie.cut();
            drop(driver);
            ended.send_replace(Some(Arc::new(end)));
        });
        Self { shared: Arc::new(Shared { requests, inbound: Mutex::new(inbound), end, tie }) }
    }

    /// Opens a stream. The other end learns of it with its first byte.
    ///
    /// # Errors
    /// When the session is over, or [too many](LinkError::TooManyStreams) streams are open.
    pub async fn open(&self) -> Result<LinkStream, LinkError> {
        let open = count_streams(&self.shared.tie);
        if open >= MAX_OPEN {
            return Err(LinkError::TooManyStreams(open));
        }
        let (ask, answer) = oneshot::channel();
        self.shared.requests.send(ask).await.map_err(|_| LinkError::Closed)?;
        answer.await.map_err(|_| LinkError::Closed)
    }

    /// The next stream that the other end opened; `None` when the session is over.
    pub async fn accept(&self) -> Option<LinkStream> {
        self.shared.inbound.lock().await.recv().await
    }

    /// Waits until the session is over, and says why. All its streams fail from then on.
    pub async fn closed(&self) -> Arc<LinkError> {
        let mut end = self.shared.end.clone();
        let ended = match end.wait_for(Option::is_some).await {
            Ok(end) => end.clone(),
            // The runtime went away, and the driver with it.
            Err(_) => None,
        };
        ended.unwrap_or_else(|| Arc::new(LinkError::Dropped))
    }
}

/// Streams of a session that are alive: each holds the tie, as do the session and its driver.
fn count_streams(tie: &Arc<Tie>) -> usize {
    Arc::strong_count(tie).saturating_sub(2)
}

/// The session's task.
struct Driver<T> {
    mux: Mux<T>,
    tie: Arc<Tie>,
    asked: mpsc::Receiver<oneshot::Sender<LinkStream>>,
    /// The request being served.
    next: Option<oneshot::Sender<LinkStream>>,
    offer: mpsc::Sender<LinkStream>,
    /// No fewer streams than yamux has: it forgets dropped ones only in its own time, and one
    /// too many would end the session.
    known: usize,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<LinkError> {
        loop {
            // Counted before yamux looks: what is gone by now, it will see.
            let alive = count_streams(&self.tie);
            match self.mux.poll_inbound(cx) {
                Poll::Ready(Ok(stream)) => {
                    self.known += 1;
                    // A stream that nobody accepts is reset by being dropped.
                    let _ = self.offer.try_send(LinkStream::accepted(stream, self.tie.clone()));
                    continue;
                }
                Poll::Ready(Err(end)) => return Poll::Ready(end.into()),
                Poll::Pending => {}
            }
            if self.mux.is_settled() {
                self.known = alive;
            }
            if let Some(end) = ready!(self.poll_open(cx)) {
                return Poll::Ready(end);
            }
        }
    }

    /// Serves one request. Ready when yamux is to be polled again, or the session is over.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Option<LinkError>> {
        // A request whose asker has gone makes room for the next one.
        while self.next.as_mut().is_none_or(|asker| asker.poll_closed(cx).is_ready()) {
            self.next = match ready!(self.asked.poll_recv(cx)) {
                None => return Poll::Ready(Some(LinkError::Dropped)),
                asker => asker,
            };
        }
        if self.known >= MAX_STREAMS {
            // Yamux wakes this task when it sees a stream go.
            return Poll::Pending;
        }
        let stream = match ready!(self.mux.poll_open(cx)) {
            Ok(stream) => stream,
            Err(end) => return Poll::Ready(Some(end.into())),
        };
        self.known += 1;
        if let Some(asker) = self.next.take() {
            let _ = asker.send(LinkStream::opened(stream, self.tie.clone()));
        }
        Poll::Ready(None)
    }
}
