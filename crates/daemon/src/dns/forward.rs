//! Asking the host's resolvers for guests that may go out.
//!
//! ```text
//!            0 s        1.5 s       3 s      4.5 s
//! first      ├─ asked ─────────────────────────┤
//! second     │          ├─ asked ──────────────┤     also at once when an earlier one refuses
//! third      │          │           ├─ asked ──┤
//!            └── the first good answer of any is passed on ──▶
//! ```
//!
//! Who has answered last is asked first the next time, so that one that is dead costs time once.
//! Each attempt has an id and a socket, and so a port, of its own; what arrives there counts if it
//! comes from the one who was asked, and answers what was asked. It is passed on as it is, but for the
//! id. Nothing is kept: guests and the host's resolvers keep answers already.
//!
//! An answer may say that a name is at an address of the host or of its loopback. That is of no use
//! to a guest, whose packets to those are dropped by the rules of its network; nothing is filtered
//! here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use hickory_proto::op::{Metadata, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};

use super::packet::{Question, Transport};
use super::resolvers::Resolvers;
use crate::shares::Shares;

/// How long a question may take: less than the 5 s after which a C library asks again.
const TOTAL: Duration = Duration::from_millis(4500);
/// How long one resolver is waited for before the next is asked, too.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Most questions under way for all guests, and for each: every one has an open file.
const IN_FLIGHT: usize = 256;
const IN_FLIGHT_EACH: usize = 64;

/// Asks resolvers.
#[derive(Debug)]
pub(super) struct Forwarder {
    resolvers: Resolvers,
    /// The one that answered last.
    preferred: AtomicUsize,
    in_flight: Shares,
}

/// What came back.
struct Reply {
    said: Metadata,
    packet: Vec<u8>,
}

impl Reply {
    /// Whether this settles the question; else somebody else may know better.
    fn is_good(&self) -> bool {
        matches!(self.said.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
    }
}

impl Forwarder {
    pub(super) fn new(resolvers: Resolvers) -> Self {
        let in_flight = Shares::new(IN_FLIGHT, IN_FLIGHT_EACH);
        Self { resolvers, preferred: AtomicUsize::new(0), in_flight }
    }

    /// The answer to `question` of the guest with address `asker`, as it came or a failure.
    pub(super) async fn ask(
        &self,
        asker: IpAddr,
        transport: Transport,
        question: &Question,
    ) -> Vec<u8> {
        let Some(_share) = self.in_flight.take(asker) else {
            return question.fail(ResponseCode::ServFail);
        };
        let Some(mut reply) = self.ask_all(transport, question).await else {
            return question.fail(ResponseCode::ServFail);
        };
        if reply.packet.len() > question.limit(transport) {
            return question.truncated(&reply.said);
        }
        reply.packet[..2].copy_from_slice(&question.asked.id.to_be_bytes());
        reply.packet
    }

    /// The first good answer of any resolver, else the last bad one.
    async fn ask_all(&self, transport: Transport, question: &Question) -> Option<Reply> {
        let resolvers = self.resolvers.observe();
        let first = self.preferred.load(Ordering::Relaxed) % resolvers.len();
        let mut left = (first..resolvers.len()).chain(0..first);
        let patience = PATIENCE.min(TOTAL / u32::try_from(resolvers.len()).unwrap_or(u32::MAX));
        let mut bad = None;
        let asking = async {
            let mut asked = FuturesUnordered::new();
            loop {
                let next = left.next();
                if let Some(which) = next {
                    let asking = ask(resolvers[which], transport, question);
                    asked.push(asking.map(move |reply| (which, reply)));
                }
                let wait = async {
                    match next {
                        Some(_) => sleep(patience).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    reply = asked.next() => match reply {
                        // Nobody is asked, and nobody is left.
                        None => return None,
                        Some((which, Ok(reply))) if reply.is_good() => {
                            self.preferred.store(which, Ordering::Relaxed);
                            return Some(reply);
                        }
                        Some((_, Ok(reply))) => bad = Some(reply),
                        Some((which, Err(error))) => {
                            tracing::debug!(resolver = %resolvers[which], %error, "no answer");
                        }
                    },
                    () = wait => {}
                }
            }
        };
        let good = timeout(TOTAL, asking).await.ok().flatten();
        good.or(bad)
    }
}

/// The answer of one resolver. One that had to be cut short is asked for again on a stream if the
/// guest has one; else it is for the guest to come back with one.
async fn ask(resolver: SocketAddr, transport: Transport, question: &Question) -> io::Result<Reply> {
    let reply = ask_by_udp(resolver, question).await?;
    match transport {
        Transport::Tcp if reply.said.truncation => ask_by_tcp(resolver, question).await,
        _ => Ok(reply),
    }
}

async fn ask_by_udp(resolver: SocketAddr, question: &Question) -> io::Result<Reply> {
    let any: IpAddr = match resolver {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    // The kernel then drops what comes from others, and tells when nobody listens there.
    socket.connect(resolver).await?;
    let id = random_id()?;
    socket.send(&question.to_forward(id)).await?;
    let mut packet = vec![0; u16::MAX.into()];
    loop {
        let length = socket.recv(&mut packet).await?;
        if let Some(said) = question.judge(id, &packet[..length]) {
            packet.truncate(length);
            return Ok(Reply { said, packet });
        }
    }
}

async fn ask_by_tcp(resolver: SocketAddr, question: &Question) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(resolver).await?;
    let id = random_id()?;
    let asked = question.to_forward(id);
    let length = u16::try_from(asked.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], &asked].concat()).await?;
    let mut packet = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut packet).await?;
    let said = question.judge(id, &packet);
    let said = said.ok_or_else(|| io::Error::other("an answer to something else"))?;
    Ok(Reply { said, packet })
}

/// An id that cannot be guessed by who wants to answer in a resolver's place.
fn random_id() -> io::Result<u16> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    Ok(u16::from_be_bytes(id))
}
