//! Services that go on after their reply.

use std::fmt;
use std::time::Duration;

use banger_proto::guest::frame::{Frame, Kind};
use banger_proto::guest::{ExecStarted, Health, Unpacked};
use serde::de::IgnoredAny;
use tokio::time::timeout;

use super::GuestError;
use super::client::{Reader, Writer, interpret, receive, stream_error};
use super::hostile::Bounded;
use crate::hypervisor::GuestStream;

const WATCH: &str = "watch";
const UNPACK: &str = "unpack";

/// How long an agent that has broken off a stream may take to say why.
const REASON_DEADLINE: Duration = Duration::from_secs(2);

/// A guest's health, picture by picture.
#[derive(Debug)]
pub struct HealthWatch {
    first: Option<Health>,
    reader: Reader,
    /// Dropping it would tell the agent that nobody watches.
    _writer: Writer,
}

impl HealthWatch {
    pub(super) fn new(first: Health, reader: Reader, writer: Writer) -> Self {
        Self { first: Some(first), reader, _writer: writer }
    }

    /// The state at the start, then the state after each change; `None` when the agent ends the
    /// stream. Cancel-safe.
    ///
    /// # Errors
    /// [`GuestError`]; the watch is over then.
    pub async fn next(&mut self) -> Result<Option<Health>, GuestError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        match self.reader.next().await {
            Ok(Some(frame)) => {
                let mut health: Health = interpret(&frame, Kind::Event, WATCH)?;
                health.bound();
                Ok(Some(health))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(stream_error(WATCH, error)),
        }
    }
}

/// A command that runs. Dropping the stream kills it.
pub struct ExecSession {
    /// What the agent said of it.
    pub started: ExecStarted,
    /// The stream after the `Accepted` frame, for passing on unread.
    pub stream: GuestStream,
}

impl fmt::Debug for ExecSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecSession").field("started", &self.started).finish_non_exhaustive()
    }
}

/// A tree of files on its way into the guest. Dropping it before [`finish`](Self::finish) aborts:
/// nothing of the tree stays.
#[derive(Debug)]
pub struct UnpackSink {
    reader: Reader,
    writer: Writer,
}

impl UnpackSink {
    pub(super) fn new(reader: Reader, writer: Writer) -> Self {
        Self { reader, writer }
    }

    /// Sends bytes of the archive; waits while the guest does not take them, which the caller
    /// bounds.
    ///
    /// # Errors
    /// [`GuestError`]; `Refused` as soon as the agent gives up (no space, a malformed archive).
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), GuestError> {
        let Self { reader, writer } = self;
        let sent = tokio::select! {
            // The agent says nothing while all is well, and then nobody reads what is sent.
            answer = receive::<IgnoredAny>(reader, Kind::Refused, UNPACK) => {
                return Err(answer.err().unwrap_or(GuestError::Protocol(UNPACK)));
            }
            sent = writer.send_bytes(Kind::Data, bytes) => sent,
        };
        match sent {
            Ok(()) => Ok(()),
            Err(error) => Err(self.reason().await.unwrap_or(stream_error(UNPACK, error))),
        }
    }

    /// Ends the archive and waits until the tree is in place, which the caller bounds.
    ///
    /// # Errors
    /// [`GuestError`]; nothing of the tree is there then.
    pub async fn finish(mut self) -> Result<Unpacked, GuestError> {
        if let Err(error) = self.writer.send(&Frame::new(Kind::End, [])).await {
            return Err(self.reason().await.unwrap_or(stream_error(UNPACK, error)));
        }
        receive(&mut self.reader, Kind::Event, UNPACK).await
    }

    /// Why the agent broke the stream off, if it said so.
    async fn reason(&mut self) -> Option<GuestError> {
        let said = receive::<IgnoredAny>(&mut self.reader, Kind::Refused, UNPACK);
        match timeout(REASON_DEADLINE, said).await {
            Ok(Err(refused @ GuestError::Refused(_))) => Some(refused),
            _ => None,
        }
    }
}
