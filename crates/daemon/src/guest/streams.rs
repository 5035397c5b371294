//! Services that go on after their reply.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use banger_proto::guest::frame::{Frame, Kind};
use banger_proto::guest::{ExecStarted, Health};
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::time::timeout;

use super::GuestError;
use super::client::{Reader, Writer, interpret, receive, stream_error};
use super::hostile::Bounded;
use crate::hypervisor::GuestStream;

const WATCH: &str = "watch";

/// How long a guest may take nothing of a tree. It writes to its disk meanwhile, in software on a
/// busy host; the whole tree may take as long as it takes.
const STALL_DEADLINE: Duration = Duration::from_secs(120);
/// How long a guest may take to have a tree in place once it has all of it.
const FINISH_DEADLINE: Duration = Duration::from_secs(600);

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

/// A tree of files on its way into the guest, which says `T` of it when it is there. Dropping it
/// before [`finish`](Self::finish) aborts: of a new tree nothing stays, of a copy into an old one
/// the files that are whole.
#[derive(Debug)]
pub struct UnpackSink<T> {
    service: &'static str,
    reader: Reader,
    writer: Writer,
    said: PhantomData<fn() -> T>,
    /// How long the guest may take nothing, and how long it may take to be done.
    stall: Duration,
    finish: Duration,
}

#[expect(private_bounds, reason = "what a guest says is bounded in this module, whatever it is")]
impl<T: DeserializeOwned + Bounded> UnpackSink<T> {
    pub(super) fn new(service: &'static str, reader: Reader, writer: Writer) -> Self {
        let (stall, finish) = (STALL_DEADLINE, FINISH_DEADLINE);
        Self { service, reader, writer, said: PhantomData, stall, finish }
    }

    /// Sends bytes of the archive, a few hundred KiB at most; waits while the guest does not take
    /// them.
    ///
    /// # Errors
    /// [`GuestError`]; `Timeout` when the guest takes nothing, `Refused` as soon as the agent gives up (no space, a malformed archive).
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), GuestError> {
        let Self { reader, writer, stall, service, .. } = self;
        let service = *service;
        let after = *stall;
        let sent = tokio::select! {
            // The agent says nothing while all is well, and then nobody reads what is sent.
            answer = receive::<IgnoredAny>(reader, Kind::Refused, service) => {
                return Err(answer.err().unwrap_or(GuestError::Protocol(service)));
            }
            sent = timeout(after, writer.send_bytes(Kind::Data, bytes)) => sent,
        };
        match sent {
            Ok(Ok(())) => Ok(()),
            Err(_) => Err(GuestError::Timeout { service, after }),
            Ok(Err(error)) => Err(self.reason().await.unwrap_or(stream_error(service, error))),
        }
    }

    /// Ends the archive and waits until the tree is in place.
    ///
    /// # Errors
    /// [`GuestError`]; nothing of the tree is there then.
    pub async fn finish(self) -> Result<T, GuestError> {
        let (after, service) = (self.finish, self.service);
        let finished = timeout(after, self.finish_unbounded()).await;
        finished.map_err(|_| GuestError::Timeout { service, after })?
    }

    async fn finish_unbounded(mut self) -> Result<T, GuestError> {
        let service = self.service;
        if let Err(error) = self.writer.send(&Frame::new(Kind::End, [])).await {
            return Err(self.reason().await.unwrap_or(stream_error(service, error)));
        }
        let mut said: T = receive(&mut self.reader, Kind::Event, service).await?;
        said.bound();
        Ok(said)
    }

    /// Why the agent broke the stream off, if it said so.
    async fn reason(&mut self) -> Option<GuestError> {
        let said = receive::<IgnoredAny>(&mut self.reader, Kind::Refused, self.service);
        match timeout(REASON_DEADLINE, said).await {
            Ok(Err(refused @ GuestError::Refused(_))) => Some(refused),
            _ => None,
        }
    }
}

/// Bytes on their way out of the guest, of which the agent says `T` when that was all. Dropping it
/// stops the agent.
#[derive(Debug)]
pub struct CopySource<T> {
    service: &'static str,
    reader: Reader,
    /// Dropping it would tell the agent that nobody listens.
    writer: Writer,
    said: PhantomData<fn() -> T>,
    stall: Duration,
}

/// What comes of a [`CopySource`].
#[derive(Debug)]
pub enum CopyPiece<T> {
    /// Bytes of the stream, in its order. What they say is the guest's word.
    Bytes(Vec<u8>),
    /// That was all.
    End(T),
}

#[expect(private_bounds, reason = "what a guest says is bounded in this module, whatever it is")]
impl<T: DeserializeOwned + Bounded> CopySource<T> {
    pub(super) fn new(service: &'static str, reader: Reader, writer: Writer) -> Self {
        Self { service, reader, writer, said: PhantomData, stall: STALL_DEADLINE }
    }

    /// Tells the agent all that it needs to begin.
    pub(super) async fn tell(&mut self, bytes: &[u8]) -> Result<(), GuestError> {
        let (service, after) = (self.service, self.stall);
        let told = async {
            self.writer.send_bytes(Kind::Data, bytes).await?;
            self.writer.send(&Frame::new(Kind::End, [])).await
        };
        let told = timeout(after, told).await;
        told.map_err(|_| GuestError::Timeout { service, after })?
            .map_err(|error| stream_error(service, error))
    }

    /// What comes next; nothing after the end.
    ///
    /// # Errors
    /// [`GuestError`]; the stream is not whole then.
    pub async fn next(&mut self) -> Result<CopyPiece<T>, GuestError> {
        let (service, after) = (self.service, self.stall);
        match timeout(after, self.reader.next()).await {
            Err(_) => Err(GuestError::Timeout { service, after }),
            Ok(Ok(Some(frame))) if frame.kind == Kind::Data => Ok(CopyPiece::Bytes(frame.payload)),
            Ok(Ok(Some(frame))) => {
                let mut end: T = interpret(&frame, Kind::Event, service)?;
                end.bound();
                Ok(CopyPiece::End(end))
            }
            Ok(Ok(None)) => Err(GuestError::Lost { service, source: None }),
            Ok(Err(error)) => Err(stream_error(service, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use banger_link::framed::framed;
    use banger_proto::guest::Unpacked;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const UNPACK: &str = "unpack";

    fn open() -> (UnpackSink<Unpacked>, DuplexStream) {
        let (host, guest) = duplex(64 << 10);
        let (reader, writer) = framed(Box::new(host) as GuestStream);
        let soon = Duration::from_millis(20);
        (UnpackSink { stall: soon, finish: soon, ..UnpackSink::new(UNPACK, reader, writer) }, guest)
    }

    #[tokio::test]
    async fn a_guest_that_takes_nothing_is_given_up() {
        let (mut sink, _guest) = open();
        let error = loop {
            if let Err(error) = sink.write(&[0; 40 << 10]).await {
                break error;
            }
        };
        assert!(matches!(error, GuestError::Timeout { service: UNPACK, .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_guest_that_does_not_say_that_it_is_done_is_given_up() {
        let (sink, _guest) = open();
        let error = sink.finish().await.unwrap_err();
        assert!(matches!(error, GuestError::Timeout { service: UNPACK, .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_guest_that_says_nonsense_meanwhile_breaks_the_protocol() {
        for nonsense in [&[77, 0, 0, 0, 0][..], &[Kind::Event as u8, 255, 255, 255, 255]] {
            let (mut sink, mut guest) = open();
            guest.write_all(nonsense).await.unwrap();
            let error = loop {
                if let Err(error) = sink.write(&[0; 40 << 10]).await {
                    break error;
                }
            };
            assert!(matches!(error, GuestError::Protocol(UNPACK)), "{error:?}");
        }
    }
}
