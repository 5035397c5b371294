//! What an agent says of the ports that programs of its guest listen at.

use std::collections::HashSet;
use std::net::IpAddr;

use banger_proto::guest::frame::Kind;
use banger_proto::guest::{MAX_LISTENERS, PortChange, PortListener, PortProtocol};

use super::GuestError;
use super::client::{Reader, Writer, interpret, stream_error};
use super::hostile::Bounded;

const PORTS: &str = "ports";

/// A guest's listeners, change by change. Dropping it stops the agent.
#[derive(Debug)]
pub struct PortWatch {
    reader: Reader,
    /// Dropping it would tell the agent that nobody watches.
    _writer: Writer,
    /// What was told to be there, so that whoever keeps it need not fear that it grows for ever.
    open: HashSet<(PortProtocol, IpAddr, u16)>,
}

impl PortWatch {
    pub(super) fn new(reader: Reader, writer: Writer) -> Self {
        Self { reader, _writer: writer, open: HashSet::new() }
    }

    /// What is there at the start, then [`PortChange::Settled`], then each change; `None` when the
    /// agent ends the stream. Never are more than [`MAX_LISTENERS`] there at a time, and what closes
    /// was open. Waits for as long as nothing changes. Cancel-safe.
    ///
    /// # Errors
    /// [`GuestError`]; the watch is over then.
    pub async fn next(&mut self) -> Result<Option<PortChange>, GuestError> {
        loop {
            let frame = match self.reader.next().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(None),
                Err(error) => return Err(stream_error(PORTS, error)),
            };
            let mut change: PortChange = interpret(&frame, Kind::Event, PORTS)?;
            change.bound();
            match &change {
                PortChange::Opened(listener) => {
                    self.open.insert(key(listener));
                    if self.open.len() > MAX_LISTENERS {
                        tracing::warn!("the agent's listeners have no end");
                        return Err(GuestError::Protocol(PORTS));
                    }
                }
                PortChange::Closed(listener) if !self.open.remove(&key(listener)) => continue,
                PortChange::Closed(_) | PortChange::Settled => {}
            }
            return Ok(Some(change));
        }
    }
}

fn key(listener: &PortListener) -> (PortProtocol, IpAddr, u16) {
    (listener.protocol, listener.address, listener.port)
}

#[cfg(test)]
mod tests {
    use banger_link::framed::{FrameWriter, framed};
    use banger_proto::guest::ListenerProcess;
    use tokio::io::{DuplexStream, WriteHalf, duplex, split};

    use super::*;
    use crate::hypervisor::GuestStream;

    fn open() -> (PortWatch, FrameWriter<WriteHalf<DuplexStream>>) {
        let (host, guest) = duplex(4 << 20);
        let (reader, writer) = framed(Box::new(host) as GuestStream);
        (PortWatch::new(reader, writer), FrameWriter::new(split(guest).1))
    }

    fn listener(port: u16, name: &str) -> PortListener {
        let process = Some(ListenerProcess { pid: 1, name: name.into() });
        PortListener { protocol: PortProtocol::Tcp, address: [127, 0, 0, 1].into(), port, process }
    }

    #[tokio::test]
    async fn names_are_made_harmless_and_nothing_closes_twice() {
        let (mut watch, mut guest) = open();
        let hostile = listener(80, &"\u{1b}]0;owned\u{7}nginx".repeat(1000));
        let closed = PortChange::Closed(listener(81, "x"));
        for change in [&closed, &PortChange::Opened(hostile), &PortChange::Settled] {
            guest.send_json(Kind::Event, change).await.unwrap();
        }
        let Some(PortChange::Opened(told)) = watch.next().await.unwrap() else { panic!() };
        let name = told.process.unwrap().name;
        assert!(name.starts_with("nginx") && name.len() < 200, "{name:?}");
        assert_eq!(watch.next().await.unwrap(), Some(PortChange::Settled));
        drop(guest);
        assert_eq!(watch.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn listeners_without_end_break_the_protocol() {
        let (mut watch, mut guest) = open();
        for port in 0..=MAX_LISTENERS as u16 {
            let change = PortChange::Opened(listener(port, "x"));
            guest.send_json(Kind::Event, &change).await.unwrap();
            guest.send_json(Kind::Event, &change).await.unwrap();
        }
        for _ in 0..2 * MAX_LISTENERS {
            assert!(watch.next().await.unwrap().is_some());
        }
        let error = watch.next().await.unwrap_err();
        assert!(matches!(error, GuestError::Protocol(PORTS)), "{error:?}");
    }

    #[tokio::test]
    async fn nonsense_breaks_the_protocol() {
        for (kind, nonsense) in [
            (Kind::Event, r#"{"opened":{"protocol":"tcp","address":"1.2.3.4","port":70000}}"#),
            (Kind::Event, r#"{"opened":{"protocol":"tcp","address":"vm","port":7}}"#),
            (Kind::Event, "\u{0}"),
            (Kind::Data, ""),
        ] {
            let (mut watch, mut guest) = open();
            guest.send_bytes(kind, nonsense.as_bytes()).await.unwrap();
            let error = watch.next().await.unwrap_err();
            assert!(matches!(error, GuestError::Protocol(PORTS)), "{nonsense}: {error:?}");
        }
    }
}
