//! The kernel's network configuration (rtnetlink): one blocking socket and a verb for each thing that the
//! operations do. Which things, and in which order, is theirs.

mod address;
mod link;
mod route;

use std::io;

use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

pub use link::{Link, LinkKind, Tap};

/// What went wrong between the helper and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// There is no way to the kernel.
    #[error("cannot talk to the kernel about networks")]
    Socket(#[source] io::Error),
    /// The kernel says what was not expected.
    #[error("cannot read what the kernel says about networks")]
    Decode(#[source] DecodeError),
    /// The kernel refuses.
    #[error(transparent)]
    Refused(io::Error),
}

impl NetlinkError {
    fn is(&self, errno: rustix::io::Errno) -> bool {
        matches!(self, Self::Refused(error) if error.raw_os_error() == Some(errno.raw_os_error()))
    }
}

/// A socket to the kernel. It stays in the network namespace in which it was opened.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens one.
    ///
    /// # Errors
    ///
    /// The kernel gives none.
    pub fn open() -> Result<Self, NetlinkError> {
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(NetlinkError::Socket)?;
        socket.bind_auto().map_err(NetlinkError::Socket)?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(NetlinkError::Socket)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Has something done.
    fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<(), NetlinkError> {
        self.request(message, NLM_F_ACK | flags).map(drop)
    }

    /// Asks for one or all of a kind.
    fn dump(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        self.request(message, NLM_F_DUMP)
    }

    /// The answers to a request. An acknowledgement or the end of a dump ends them.
    fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut packet = vec![0; message.buffer_len()];
        message.serialize(&mut packet);
        self.socket.send(&packet, 0).map_err(NetlinkError::Socket)?;

        let mut answers = Vec::new();
        loop {
            let (packet, _) = self.socket.recv_from_full().map_err(NetlinkError::Socket)?;
            let mut rest = &packet[..];
            while !rest.is_empty() {
                let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(NetlinkError::Decode)?;
                let length = answer.header.length as usize;
                // Each begins at a multiple of four, the last may end before one.
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(NetlinkError::Refused(error.to_io()));
                    }
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(answers),
                    _ => {}
                }
            }
        }
    }
}
