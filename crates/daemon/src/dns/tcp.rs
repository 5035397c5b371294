//! Questions on streams (RFC 7766): any number on one connection, each answered as soon as it can be.
//!
//! A connection ends when it is idle, when its client does not take what it asked for, and when it
//! sends what is no frame. Connections have places, so that nobody takes all of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::packet::{Transport, Verdict};
use super::server::Desk;
use crate::shares::{Share, Shares};

/// Most connections in all, and of each address. On the host's own face all have one address.
const CONNECTIONS: usize = 128;
const CONNECTIONS_EACH: usize = 32;
/// How long a connection may be without questions, and how long one answer may take to be taken.
const IDLE: Duration = Duration::from_secs(10);
/// Most questions of one connection that wait for resolvers; the next is read after one of them.
const WAITING: usize = 16;
/// How long to wait when the host has run out of something: no event tells when there is again.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

/// Answers for ever.
pub(super) async fn serve(listener: TcpListener, desk: Arc<Desk>) {
    let shares = Shares::new(CONNECTIONS, CONNECTIONS_EACH);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    // Who finds no place is told so by the end of the connection.
                    if let Some(share) = shares.take(peer.ip()) {
                        connections.spawn(converse(stream, peer, Arc::clone(&desk), share));
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept connections for questions");
                    tokio::time::sleep(SHORTAGE_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Answers the questions of one connection; any failure of it is its end.
async fn converse(stream: TcpStream, peer: SocketAddr, desk: Arc<Desk>, _share: Share) {
    // Answers are written whole, and waited for.
    let _ = stream.set_nodelay(true);
    let frames = LengthDelimitedCodec::builder().length_field_type::<u16>().new_codec();
    let mut stream = Framed::new(stream, frames);
    let mut forwards = FuturesUnordered::new();
    let mut reply = Vec::new();
    loop {
        let ready = tokio::select! {
            frame = timeout(IDLE, stream.next()), if forwards.len() < WAITING => {
                let Ok(Some(Ok(packet))) = frame else { return };
                let judged = desk.judge(&desk.zone(), peer.ip(), Transport::Tcp, &packet, &mut reply);
                match judged {
                    Verdict::Silent => continue,
                    Verdict::Answered => Bytes::copy_from_slice(&reply),
                    Verdict::Forward(question) => {
                        let desk = Arc::clone(&desk);
                        forwards.push(async move {
                            let forwarder = desk.forwarder()?;
                            Some(forwarder.ask(peer.ip(), Transport::Tcp, &question).await)
                        });
                        continue;
                    }
                }
            }
            Some(forwarded) = forwards.next() => {
                let Some(forwarded) = forwarded else { continue };
                forwarded.into()
            }
        };
        let Ok(Ok(())) = timeout(IDLE, stream.send(ready)).await else { return };
    }
}
