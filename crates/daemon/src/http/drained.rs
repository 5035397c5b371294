//! Bodies of requests that are read to their end whatever becomes of the request.
//!
//! Where a body is left unread, the connection is closed while the client still writes, and what
//! it finds is a broken pipe instead of the answer that says why. So what a refusal leaves is read
//! and forgotten. That ends soon: a client that has its answer hangs up.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::runtime::Handle;

/// A body of which nothing stays unread.
#[derive(Debug)]
pub(super) struct Drained {
    body: Body,
    over: bool,
}

impl Drained {
    /// The same body, drained when it is dropped.
    pub(super) fn wrap(body: Body) -> Body {
        let over = body.is_end_stream();
        if over { body } else { Body::new(Self { body, over }) }
    }
}

impl hyper::body::Body for Drained {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.over |= matches!(polled, Poll::Ready(None | Some(Err(_))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        if self.is_end_stream() {
            return;
        }
        let mut body = std::mem::take(&mut self.body);
        // Without a runtime, the daemon has ended, and the connection with it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { while let Some(Ok(_)) = body.frame().await {} });
        }
    }
}
