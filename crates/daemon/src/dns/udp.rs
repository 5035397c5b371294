//! Questions in datagrams.
//!
//! One task takes what is there, a bounded number at a time, and lets others go on in between: a
//! flood of questions slows down itself, not the daemon. What has to be forwarded waits in tasks of
//! its own, of which [`Forwarder`](super::forward::Forwarder) has so many at a time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::packet::{Transport, Verdict};
use super::server::Desk;

/// Questions in a row before others go on: about half a millisecond.
const BATCH: usize = 64;
/// Longest question: one name, and room for what comes with it. Longer ones make no sense any more
/// after they were cut.
const LONGEST_QUESTION: usize = 2048;
/// How long to wait when the host has run out of something: no event tells when there is again.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

/// Answers for ever.
pub(super) async fn serve(socket: UdpSocket, desk: Arc<Desk>) {
    let socket = Arc::new(socket);
    let mut forwards = JoinSet::new();
    let mut packet = vec![0; LONGEST_QUESTION];
    let mut reply = Vec::with_capacity(LONGEST_QUESTION);
    loop {
        let batch = match socket.readable().await {
            Ok(()) => take_batch(&socket, &desk, &mut packet, &mut reply, &mut forwards),
            Err(error) => Err(error),
        };
        if let Err(error) = batch {
            tracing::debug!(%error, "cannot receive questions");
            tokio::time::sleep(SHORTAGE_PAUSE).await;
        }
        while forwards.try_join_next().is_some() {}
        tokio::task::yield_now().await;
    }
}

/// Answers what is there, [`BATCH`] questions at most.
fn take_batch(
    socket: &Arc<UdpSocket>,
    desk: &Arc<Desk>,
    packet: &mut [u8],
    reply: &mut Vec<u8>,
    forwards: &mut JoinSet<()>,
) -> io::Result<()> {
    let zone = desk.zone();
    for _ in 0..BATCH {
        let (length, peer) = match socket.try_recv_from(packet) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        match desk.judge(&zone, peer.ip(), Transport::Udp, &packet[..length], reply) {
            Verdict::Silent => {}
            // Like any datagram it may be lost, and is when there is no room: who asked asks again.
            Verdict::Answered => drop(socket.try_send_to(reply, peer)),
            Verdict::Forward(question) => {
                let (socket, desk) = (Arc::clone(socket), Arc::clone(desk));
                forwards.spawn(async move {
                    let Some(forwarder) = desk.forwarder() else { return };
                    let reply = forwarder.ask(peer.ip(), Transport::Udp, &question).await;
                    let _ = socket.send_to(&reply, peer).await;
                });
            }
        }
    }
    Ok(())
}
