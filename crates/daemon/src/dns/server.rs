//! A name server on a pair of sockets: who asks, and what is done with a packet.
//!
//! ```text
//!            ┌─ Silent ────▶ nothing
//! packet ──▶ answer() ─ Answered ─▶ back the way it came
//!            └─ Forward ───▶ Forwarder ──▶ back the way it came   (guests that may go out)
//! ```
//!
//! `udp` and `tcp` have the loops.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use banger_proto::VmName;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::forward::Forwarder;
use super::packet::{Transport, Verdict, answer, asked_vm};
use super::resolvers::Resolvers;
use super::zone::{Asker, Zone};
use super::{tcp, udp};

/// How often a free port is looked for that is free for both protocols.
const PORT_TRIES: u32 = 8;

/// Whom a server answers.
#[derive(Debug)]
pub enum Face {
    /// Programs on this host; nothing is forwarded. Which VM's address is asked for is told here.
    Host(Option<mpsc::Sender<VmName>>),
    /// Guests; what is not of the zone is asked of these.
    Guests(Resolvers),
}

/// The sockets of a server, both on one address.
#[derive(Debug)]
pub struct Sockets {
    /// For datagrams.
    pub udp: UdpSocket,
    /// For streams.
    pub tcp: TcpListener,
}

/// Why there are no sockets.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program has the port.
    #[error("another program listens on `{0}`")]
    InUse(SocketAddr),
    /// Some other reason.
    #[error("cannot listen on `{address}`")]
    Other {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Sockets {
    /// Listens on `address`; on any port that is free when that is 0.
    ///
    /// # Errors
    /// When another program does, or the kernel refuses.
    pub fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let mut tries = if address.port() == 0 { PORT_TRIES } else { 1 };
        loop {
            tries -= 1;
            match Self::try_bind(address) {
                Ok(sockets) => return Ok(sockets),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    if tries == 0 {
                        return Err(BindError::InUse(address));
                    }
                }
                Err(source) => return Err(BindError::Other { address, source }),
            }
        }
    }

    fn try_bind(address: SocketAddr) -> io::Result<Self> {
        let tcp = TcpListener::bind(address)?;
        let udp = UdpSocket::bind(tcp.local_addr()?)?;
        Ok(Self { udp, tcp })
    }
}

/// A server, until it is dropped.
#[derive(Debug)]
pub struct DnsServer {
    address: SocketAddr,
    _loops: [AbortOnDropHandle<()>; 2],
}

impl DnsServer {
    /// Answers `face` on `sockets` from what `zone` has at the time. Needs a runtime around it.
    ///
    /// # Errors
    /// When the sockets are of no use.
    pub fn start(
        face: Face,
        sockets: Sockets,
        zone: watch::Receiver<Arc<Zone>>,
    ) -> io::Result<Self> {
        let Sockets { udp, tcp } = sockets;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        let address = udp.local_addr()?;
        let udp = tokio::net::UdpSocket::from_std(udp)?;
        let tcp = tokio::net::TcpListener::from_std(tcp)?;
        let (forwarder, asked) = match face {
            Face::Host(asked) => (None, asked),
            Face::Guests(resolvers) => (Some(Forwarder::new(resolvers)), None),
        };
        let desk = Arc::new(Desk { zone, forwarder, asked });
        let loops =
            [tokio::spawn(udp::serve(udp, Arc::clone(&desk))), tokio::spawn(tcp::serve(tcp, desk))];
        Ok(Self { address, _loops: loops.map(AbortOnDropHandle::new) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// What the loops share.
#[derive(Debug)]
pub(super) struct Desk {
    zone: watch::Receiver<Arc<Zone>>,
    /// None where nothing is forwarded.
    forwarder: Option<Forwarder>,
    /// Who is told which VM's address is asked for.
    asked: Option<mpsc::Sender<VmName>>,
}

impl Desk {
    /// The names at this time.
    pub(super) fn zone(&self) -> Arc<Zone> {
        Arc::clone(&self.zone.borrow())
    }

    /// Who `peer` is. The sockets of guests are where only guests and this host's root come to, and a
    /// guest cannot take another one's address; an address without a record has no rights.
    fn asker(&self, peer: IpAddr) -> Option<Asker> {
        match (&self.forwarder, peer) {
            (None, _) => Some(Asker::Host),
            (Some(_), IpAddr::V4(address)) => Some(Asker::Guest(address)),
            (Some(_), IpAddr::V6(_)) => None,
        }
    }

    /// What to do with `packet` of `peer`; an answer that there is already is in `reply`.
    pub(super) fn judge(
        &self,
        zone: &Zone,
        peer: IpAddr,
        transport: Transport,
        packet: &[u8],
        reply: &mut Vec<u8>,
    ) -> Verdict {
        let Some(asker) = self.asker(peer) else { return Verdict::Silent };
        let verdict = answer(zone, asker, transport, packet, reply);
        if let (Verdict::Answered, Some(asked)) = (&verdict, &self.asked)
            && let Some(vm) = asked_vm(zone, packet)
        {
            // Whoever is told has heard of enough of them when there is no room: who asked asks again.
            let _ = asked.try_send(vm);
        }
        verdict
    }

    /// Who asks the host's resolvers.
    pub(super) fn forwarder(&self) -> Option<&Forwarder> {
        self.forwarder.as_ref()
    }
}
