//! Requests and answers that are passed on as they are: the caller says what is asked, and gets what
//! comes.

use banger_proto::OpId;
use banger_proto::api::{END_TRAILER, Event};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::Method;
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, TE, TRAILER};
use tokio::fs::File;
use tokio_util::io::ReaderStream;
use tokio_util::task::AbortOnDropHandle;

use super::{Body, CHUNK, Client, Versioned, lost, request, upload, whole};
use crate::errors::CliError;
use crate::stdin::Input;

/// Longest last line that is looked at; see [`Ending::Lines`].
const MAX_LINE: usize = 1 << 20;

/// The body of a request.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// JSON, or nothing.
    Json(Bytes),
    /// Bytes that are at hand.
    Bytes(Bytes),
    /// What a file has, as it is read.
    File(File),
    /// What standard input has, as it comes.
    Stdin(Input),
}

impl RequestBody {
    fn content_type(&self) -> &'static str {
        match self {
            Self::Json(_) => "application/json",
            Self::Bytes(_) | Self::File(_) | Self::Stdin(_) => "application/octet-stream",
        }
    }

    fn into_body(self) -> Body {
        match self {
            Self::Json(bytes) | Self::Bytes(bytes) => whole(bytes),
            Self::File(file) => {
                let chunks = ReaderStream::with_capacity(file, CHUNK).map_ok(Frame::data);
                StreamBody::new(chunks).boxed_unsync()
            }
            Self::Stdin(input) => upload::body(input),
        }
    }
}

/// How the daemon answered.
#[derive(Debug)]
pub(crate) enum Passed {
    /// It does it.
    Taken(Passing),
    /// It does not: the body of its answer, and the failure in that.
    Refused(Bytes, CliError),
}

impl Client {
    /// `method path` with `body` → the answer.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn pass(
        &self,
        method: Method,
        path: &str,
        body: RequestBody,
    ) -> Result<Passed, CliError> {
        let request = request(method, path, Versioned::Yes)
            .header(CONTENT_TYPE, body.content_type())
            .header(TE, "trailers");
        let answer = self.exchange(request, body.into_body()).await?;
        if answer.is_refusal() {
            let (bytes, error) = answer.refusal().await?;
            return Ok(Passed::Refused(bytes, error));
        }
        let headers = answer.response.headers();
        let is_lines = headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-ndjson"));
        let ending = match (headers.contains_key(TRAILER), is_lines) {
            (true, _) => Ending::Trailer(None),
            (false, true) => Ending::Lines(Vec::new()),
            (false, false) => Ending::Length,
        };
        Ok(Passed::Taken(Passing {
            body: answer.response.into_body(),
            ending,
            op_id: answer.op_id,
            _connection: answer.connection,
        }))
    }
}

/// The body of an answer, on its way. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Passing {
    body: Incoming,
    ending: Ending,
    op_id: Option<OpId>,
    _connection: AbortOnDropHandle<()>,
}

/// Where an answer says whether the work was done.
#[derive(Debug)]
enum Ending {
    /// Nowhere: it is one that is whole.
    Length,
    /// In its last line, of which this has come.
    Lines(Vec<u8>),
    /// In a trailer.
    Trailer(Option<Event>),
}

impl Passing {
    /// What comes next; nothing after the end.
    ///
    /// # Errors
    /// When the connection is lost, and when the end says that the work failed.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, CliError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| lost(&error).of_operation(self.op_id.clone()))?;
            match frame.into_data() {
                Ok(bytes) => {
                    if let Ending::Lines(line) = &mut self.ending {
                        keep_last_line(line, &bytes);
                    }
                    return Ok(Some(bytes));
                }
                Err(frame) => {
                    if let (Ending::Trailer(end), Ok(trailers)) =
                        (&mut self.ending, frame.into_trailers())
                    {
                        let value = trailers.get(END_TRAILER).map(|value| value.as_bytes());
                        *end = value.and_then(|value| serde_json::from_slice(value).ok());
                    }
                }
            }
        }
        let end = match &mut self.ending {
            Ending::Length => return Ok(None),
            // A line that is no event is one of another kind of stream.
            Ending::Lines(line) => serde_json::from_slice(line).ok(),
            Ending::Trailer(None) => {
                return Err(CliError::failure(
                    "the answer was cut: the daemon did not say that it is whole",
                )
                .of_operation(self.op_id.clone()));
            }
            Ending::Trailer(end) => end.take(),
        };
        match end {
            Some(Event::Failed { problem }) => {
                Err(CliError::from(problem).of_operation(self.op_id.clone()))
            }
            _ => Ok(None),
        }
    }
}

/// Adds `bytes` to what is kept in `line`: the last line that is not empty, with its end, or its
/// beginning where it is too long to be an event.
fn keep_last_line(line: &mut Vec<u8>, bytes: &[u8]) {
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        if line.last() == Some(&b'\n') {
            line.clear();
        }
        let room = (MAX_LINE + 1).saturating_sub(line.len());
        line.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.ends_with(b"\n") && line.last() != Some(&b'\n') {
            // The next line begins a new one, whatever was left out of this.
            line.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_kept_however_it_arrives() {
        let mut line = Vec::new();
        for (piece, kept) in [
            (&b"{\"a\""[..], &b"{\"a\""[..]),
            (b":1}\n{\"b\"", b"{\"b\""),
            (b":2}\n", b"{\"b\":2}\n"),
            (b"{}\n{\"c\":3}\n", b"{\"c\":3}\n"),
        ] {
            keep_last_line(&mut line, piece);
            assert_eq!(line, kept);
        }
        keep_last_line(&mut line, &vec![b'x'; 3 * MAX_LINE]);
        assert!(line.len() <= MAX_LINE + 1);
        keep_last_line(&mut line, b"x\n");
        keep_last_line(&mut line, b"{}\n");
        assert_eq!(line, b"{}\n");
    }
}
