//! Copies: a tar stream as the body of a request or of an answer.

use banger_proto::OpId;
use banger_proto::api::{END_TRAILER, Event};
use banger_tree::{Outlet, Piece};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::Method;
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, TE};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{Client, Events, Versioned, lost, request, whole};
use crate::errors::CliError;

impl Client {
    /// `PUT path` with what comes out of `outlet` as the body → what happens, as it happens.
    /// `sent` is told how many bytes were taken. Dropping it breaks the copy off.
    pub(crate) async fn copy_in(
        &self,
        path: &str,
        outlet: Outlet,
        sent: watch::Sender<u64>,
    ) -> Result<Events, CliError> {
        let request =
            request(Method::PUT, path, Versioned::Yes).header(CONTENT_TYPE, "application/x-tar");
        // An end that was not announced breaks the request off: the archive would look whole.
        let frames = stream::unfold(Some((outlet, sent)), async |state| {
            let (mut outlet, sent) = state?;
            match outlet.next().await {
                Some(Piece::Bytes(bytes)) => {
                    sent.send_modify(|sum| *sum += bytes.len() as u64);
                    Some((Ok(Frame::data(bytes)), Some((outlet, sent))))
                }
                Some(Piece::End) => None,
                None => Some((Err(std::io::ErrorKind::UnexpectedEof.into()), None)),
            }
        });
        let answer = self.send_request(request, StreamBody::new(frames).boxed_unsync()).await?;
        Ok(Events::new(answer.response.into_body(), answer.op_id, answer.connection))
    }

    /// `GET path` → its body, and how that ended.
    pub(crate) async fn copy_out(&self, path: &str) -> Result<Download, CliError> {
        let request = request(Method::GET, path, Versioned::Yes).header(TE, "trailers");
        let answer = self.send_request(request, whole(Bytes::new())).await?;
        let body = answer.response.into_body();
        Ok(Download { body, op_id: answer.op_id, _connection: answer.connection })
    }
}

/// The answer that is a copy. Dropping it breaks the copy off.
#[derive(Debug)]
pub(crate) struct Download {
    body: Incoming,
    op_id: Option<OpId>,
    _connection: AbortOnDropHandle<()>,
}

/// What comes of a [`Download`].
#[derive(Debug)]
pub(crate) enum Part {
    Bytes(Bytes),
    /// How it ended.
    End(Event),
}

impl Download {
    /// The request it belongs to.
    pub(crate) fn op_id(&self) -> Option<OpId> {
        self.op_id.clone()
    }

    /// What comes next; nothing after the end. Cancel-safe.
    ///
    /// # Errors
    /// When the connection is lost, or ends without having said how the copy did.
    pub(crate) async fn next(&mut self) -> Result<Part, CliError> {
        let frame = match self.body.frame().await {
            Some(frame) => frame.map_err(|error| lost(&error).of_operation(self.op_id()))?,
            None => return Err(self.cut()),
        };
        match frame.into_data() {
            Ok(bytes) => Ok(Part::Bytes(bytes)),
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                let end = trailers.get(END_TRAILER).map(|end| end.as_bytes());
                let event = end.and_then(|end| serde_json::from_slice(end).ok());
                event.map(Part::End).ok_or_else(|| self.cut())
            }
        }
    }

    fn cut(&self) -> CliError {
        CliError::failure("the copy was cut: the daemon did not say that it is whole")
            .of_operation(self.op_id())
    }
}
