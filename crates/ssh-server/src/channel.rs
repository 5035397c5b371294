//! One channel as the connection keeps it: both windows, and how far it is (RFC 4254 §5).

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::connection::WINDOW;
use crate::inbox::{Inbox, Inputs, TerminalSize};

/// Room is given back to the client in pieces of at least this many bytes.
const GRANT: u32 = 32 << 10;
/// Longest message of data that is sent, whatever the client would take.
const PACKET_LIMIT: usize = 32 << 10;

/// What a channel waits for, or that it is in use.
#[derive(Debug)]
pub(crate) enum Phase {
    /// The client asked for it; the connection to where it leads is being made.
    Connecting(Inputs),
    /// The client was asked for it, for this connection.
    Offered(TcpStream, Inputs),
    /// A session that has no command yet.
    Preparing(Box<Setup>),
    /// Somebody has the other ends.
    InUse,
}

/// What a session's command will have.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) inputs: Inputs,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) terminal: Option<TerminalSize>,
}

#[derive(Debug)]
pub(crate) struct Channel {
    /// The client's number for it.
    pub(crate) remote: u32,
    pub(crate) packet: usize,
    /// Room at the client; see [`Outputs`](crate::Outputs).
    pub(crate) window: Arc<Semaphore>,
    /// None once nobody takes input any more.
    pub(crate) inbox: Option<Inbox>,
    pub(crate) phase: Phase,
    /// Bytes the client may send.
    room: u32,
    /// Bytes that were taken and not given back yet.
    owed: u32,
    pub(crate) sent_end: bool,
    pub(crate) sent_close: bool,
}

/// The client broke the rules of flow control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overrun;

impl Channel {
    /// A channel of which the client's side is to be [`accept`](Self::accept)ed.
    pub(crate) fn new(inbox: Inbox, phase: Phase) -> Self {
        Self {
            remote: 0,
            packet: 0,
            window: Arc::new(Semaphore::new(0)),
            inbox: Some(inbox),
            phase,
            room: WINDOW,
            owed: 0,
            sent_end: false,
            sent_close: false,
        }
    }

    /// Notes the client's side of it: its number, its room, and its longest message.
    pub(crate) fn accept(&mut self, remote: u32, window: u32, packet: u32) {
        self.remote = remote;
        self.packet = usize::try_from(packet).unwrap_or(usize::MAX).clamp(1, PACKET_LIMIT);
        self.window.add_permits(usize::try_from(window).unwrap_or(usize::MAX));
    }

    /// Whether messages for it make sense.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Preparing(_) | Phase::InUse)
    }

    /// Takes bytes from the client.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<(), Overrun> {
        let length = u32::try_from(bytes.len()).map_err(|_| Overrun)?;
        self.room = self.room.checked_sub(length).ok_or(Overrun)?;
        if let Some(inbox) = &self.inbox {
            inbox.add(bytes);
        }
        Ok(())
    }

    /// Notes that input was taken; then how much room to give back, if it is time for that.
    pub(crate) fn take(&mut self, bytes: usize) -> Option<u32> {
        self.owed += u32::try_from(bytes).unwrap_or(u32::MAX).min(WINDOW - self.room - self.owed);
        if self.owed < GRANT {
            return None;
        }
        let grant = std::mem::take(&mut self.owed);
        self.room += grant;
        Some(grant)
    }

    /// The client has made room for more.
    pub(crate) fn widen(&self, bytes: u32) -> Result<(), Overrun> {
        let bytes = usize::try_from(bytes).map_err(|_| Overrun)?;
        let limit = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
        if bytes > limit - self.window.available_permits().min(limit) {
            return Err(Overrun);
        }
        self.window.add_permits(bytes);
        Ok(())
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.window.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::inbox;

    fn channel() -> Channel {
        let mut channel = Channel::new(inbox().0, Phase::InUse);
        channel.accept(0, 100, 0);
        channel
    }

    #[test]
    fn a_client_that_sends_more_than_it_may_is_noticed() {
        let mut channel = channel();
        let window = usize::try_from(WINDOW).unwrap();
        channel.receive(&vec![0; window]).unwrap();
        assert_eq!(channel.receive(&[0]), Err(Overrun));
        assert_eq!(channel.take(40_000), Some(40_000));
        assert_eq!(channel.take(1), None);
        // What was never sent cannot be taken.
        assert_eq!(channel.take(usize::MAX), Some(WINDOW - 40_000));
        channel.receive(&vec![0; window]).unwrap();
        assert_eq!(channel.receive(&[0]), Err(Overrun));
    }

    #[test]
    fn room_beyond_what_a_window_can_be_is_noticed() {
        let channel = channel();
        assert_eq!(channel.packet, 1);
        channel.widen(u32::MAX - 100).unwrap();
        assert_eq!(channel.widen(1), Err(Overrun));
    }
}
