//! What a long request says while it works: lines of JSON in the body of its answer.

use std::marker::PhantomData;

use banger_proto::OpId;
use banger_proto::api::Event;
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio_util::task::AbortOnDropHandle;

use super::lost;
use crate::errors::CliError;

/// Longest line that is read; a `Failed` event with a console's tail is the longest there is.
const MAX_LINE: usize = 1 << 20;

/// The events of one request. Dropping them closes its connection, which cancels the request
/// or, after `vm_ready` of an ephemeral VM, ends that VM.
#[derive(Debug)]
pub(crate) struct Events<T = Event> {
    body: Incoming,
    op_id: Option<OpId>,
    lines: Lines,
    line: PhantomData<T>,
    _connection: AbortOnDropHandle<()>,
}

impl<T: DeserializeOwned> Events<T> {
    pub(super) fn new(
        body: Incoming,
        op_id: Option<OpId>,
        connection: AbortOnDropHandle<()>,
    ) -> Self {
        Self { body, op_id, lines: Lines::default(), line: PhantomData, _connection: connection }
    }

    /// The request they belong to.
    pub(crate) fn op_id(&self) -> Option<OpId> {
        self.op_id.clone()
    }

    /// The next event. Cancel-safe.
    ///
    /// # Errors
    /// When the connection is lost, ends, or carries something else.
    pub(crate) async fn next(&mut self) -> Result<T, CliError> {
        loop {
            if let Some(line) = self.lines.take() {
                return serde_json::from_slice(&line).map_err(|error| {
                    CliError::failure("the daemon said something this program does not understand")
                        .because(&error)
                        .of_operation(self.op_id())
                });
            }
            if self.lines.pending() > MAX_LINE {
                return Err(CliError::failure("the daemon sends a line without end")
                    .of_operation(self.op_id()));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.lines.push(data);
                    }
                }
                Some(Err(error)) => return Err(lost(&error).of_operation(self.op_id())),
                None => {
                    return Err(CliError::failure("the daemon ended before the request did")
                        .of_operation(self.op_id())
                        .hint("`banger daemon status` says whether it runs and where its log is"));
                }
            }
        }
    }
}

/// Bytes on their way to becoming lines.
#[derive(Debug, Default)]
struct Lines {
    buffer: BytesMut,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole line that is not empty.
    fn take(&mut self) -> Option<BytesMut> {
        loop {
            let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
            let line = self.buffer.split_to(end + 1);
            if !line.trim_ascii().is_empty() {
                return Some(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_however_they_arrive() {
        let mut lines = Lines::default();
        lines.push(b"{\"a\"");
        assert_eq!(lines.take(), None);
        lines.push(b":1}\n\n{\"b\":2}\n{");
        assert_eq!(lines.take().as_deref(), Some(&b"{\"a\":1}\n"[..]));
        assert_eq!(lines.take().as_deref(), Some(&b"{\"b\":2}\n"[..]));
        assert_eq!((lines.take(), lines.pending()), (None, 1));
    }
}
