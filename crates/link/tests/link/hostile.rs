//! A guest that follows no rules. The host must end the session with an error, or bear it, with
//! bounded memory; it must never panic or wait for such a guest's good will.

use banger_link::marker::{Marker, MarkerKind};
use banger_link::{LinkError, Session, connect_host};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::raw::RawGuest;
use crate::{MAGIC, within};

/// A host whose guest is `guest` after a proper handshake.
async fn connected(capacity: usize) -> (Session, DuplexStream) {
    let (host, guest) = duplex(capacity);
    let connect = tokio::spawn(connect_host(host, MAGIC));
    let mut guest = RawGuest::new(guest);
    within(guest.shake_hands()).await;
    (within(connect).await.unwrap().unwrap(), guest.io)
}

/// A header of yamux: `flags` 1 SYN, 2 ACK, 4 FIN, 8 RST.
fn header(kind: u8, flags: u8, stream: u32, length: u32) -> Vec<u8> {
    [&[0, kind, 0, flags][..], &stream.to_be_bytes(), &length.to_be_bytes()].concat()
}

async fn end_after(bytes: &[u8]) -> std::sync::Arc<LinkError> {
    let (session, mut guest) = connected(1 << 20).await;
    guest.write_all(bytes).await.unwrap();
    within(session.closed()).await
}

#[tokio::test]
async fn garbage_for_an_answer_is_discarded() {
    let (host, guest) = duplex(1 << 12);
    let connect = tokio::spawn(connect_host(host, MAGIC));
    let mut guest = RawGuest::new(guest);
    let nonce = within(guest.expect(MarkerKind::Hello)).await;
    let garbage: Vec<u8> =
        (0..1u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    within(guest.io.write_all(&garbage)).await.unwrap();
    // Answers to somebody else, out of turn, and cut short.
    for kind in [MarkerKind::Ack, MarkerKind::Started, MarkerKind::Hello, MarkerKind::Start] {
        within(guest.say(kind, [9; 16])).await;
    }
    within(guest.say(MarkerKind::Started, nonce)).await;
    let cut = Marker { kind: MarkerKind::Ack, nonce, generation: 1 }.encode(MAGIC);
    within(guest.io.write_all(&cut[..30])).await.unwrap();
    within(guest.say(MarkerKind::Ack, nonce)).await;
    let nonce = within(guest.expect(MarkerKind::Start)).await;
    within(guest.say(MarkerKind::Started, nonce)).await;
    within(connect).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_end_instead_of_an_answer_is_an_error() {
    let (host, guest) = duplex(1 << 12);
    let connect = tokio::spawn(connect_host(host, MAGIC));
    let mut guest = RawGuest::new(guest);
    let nonce = within(guest.expect(MarkerKind::Hello)).await;
    within(guest.say(MarkerKind::Ack, nonce)).await;
    drop(guest);
    assert!(matches!(within(connect).await.unwrap(), Err(LinkError::Ended)));
}

#[tokio::test]
async fn calls_whose_answers_are_not_read_pile_nothing_up() {
    let (host, mut guest) = duplex(64);
    let connect = tokio::spawn(connect_host(host, MAGIC));
    let call = Marker { kind: MarkerKind::Call, nonce: [0; 16], generation: 1 }.encode(MAGIC);
    for _ in 0..10_000 {
        within(guest.write_all(&call)).await.unwrap();
    }
    guest.shutdown().await.unwrap();
    assert!(matches!(within(connect).await.unwrap(), Err(LinkError::Ended)));
    let mut answers = Vec::new();
    within(guest.read_to_end(&mut answers)).await.unwrap();
    assert!(answers.len() <= 64 + call.len(), "{} bytes", answers.len());
}

#[tokio::test]
async fn malformed_frames_end_the_session() {
    for (what, bytes) in [
        ("version", vec![9; 12]),
        ("type", vec![0, 77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("giant frame", header(0, 1, 2, u32::MAX)),
    ] {
        let end = end_after(&bytes).await;
        assert!(matches!(*end, LinkError::Protocol(_)), "{what}: {end:?}");
    }
}

#[tokio::test]
async fn broken_limits_end_the_session() {
    let mut over_window = header(0, 1, 2, 200 << 10);
    over_window.resize(over_window.len() + (200 << 10), 0);
    over_window.extend(header(0, 0, 2, 200 << 10));
    over_window.resize(over_window.len() + (200 << 10), 0);
    for (what, bytes) in [
        ("the host's stream numbers", header(0, 1, 1, 0)),
        ("a stream twice", [header(0, 1, 2, 0), header(0, 1, 2, 0)].concat()),
        ("more than the window", over_window),
        ("more credit than there is", [header(1, 1, 2, 0), header(1, 0, 2, u32::MAX)].concat()),
        ("an answer to no ping", [header(2, 2, 0, 77), header(2, 2, 0, 78)].concat()),
    ] {
        let end = end_after(&bytes).await;
        assert!(matches!(*end, LinkError::Violation), "{what}: {end:?}");
    }
}

#[tokio::test]
async fn a_farewell_ends_the_session() {
    assert!(matches!(*end_after(&header(3, 0, 0, 0)).await, LinkError::Protocol(_)));
}

#[tokio::test]
async fn streams_that_nobody_accepts_are_reset() {
    let (session, guest) = connected(1 << 20).await;
    let (mut from, mut to) = tokio::io::split(guest);
    for stream in 1..=100 {
        to.write_all(&header(0, 1, 2 * stream, 0)).await.unwrap();
    }
    // The host keeps sixteen for whoever accepts them.
    for _ in 0..84 {
        let mut reset = [0; 12];
        within(from.read_exact(&mut reset)).await.unwrap();
        assert_eq!((reset[1], reset[3]), (0, 8));
    }
    assert!(within(session.accept()).await.is_some());
}

#[tokio::test]
async fn a_flood_of_streams_whose_resets_are_not_read_is_stopped() {
    // Once the host cannot write, it cannot even say farewell; it stops listening after a while.
    let (session, guest) = connected(64).await;
    let (from, mut to) = tokio::io::split(guest);
    for stream in 1..=2000 {
        within(to.write_all(&header(0, 1, 2 * stream, 0))).await.unwrap();
    }
    let mut from = from;
    let drain = async { while from.read_u8().await.is_ok() {} };
    let ended = within(futures_util::future::join(drain, session.closed())).await.1;
    assert!(matches!(*ended, LinkError::Violation), "{ended:?}");
}

#[tokio::test]
async fn an_answer_that_cannot_leave_does_not_stop_the_host_from_reading() {
    const WINDOW: u32 = 256 << 10;
    let (session, guest) = connected(16 << 10).await;
    let mut blocked = session.open().await.unwrap();
    blocked.write_all(&vec![7; WINDOW as usize]).await.unwrap();
    let (mut from, mut to) = tokio::io::split(guest);
    // The guest reads nothing, yet asks for an answer and then says a lot.
    within(to.write_all(&header(2, 1, 0, 77))).await.unwrap();
    for stream in 1..=10 {
        within(to.write_all(&header(0, 1, 2 * stream, WINDOW))).await.unwrap();
        within(to.write_all(&vec![stream as u8; WINDOW as usize])).await.unwrap();
    }
    // Now it reads, and the answer is there.
    let mut header = [0; 12];
    loop {
        within(from.read_exact(&mut header)).await.unwrap();
        if header[1] == 2 {
            assert_eq!((header[3], header[11]), (2, 77));
            break;
        }
        let len = u32::from_be_bytes(*header.last_chunk().unwrap());
        within(from.read_exact(&mut vec![0; len as usize])).await.unwrap();
    }
    for stream in 1..=10 {
        let mut received = vec![0; WINDOW as usize];
        let mut accepted = within(session.accept()).await.unwrap();
        within(accepted.read_exact(&mut received)).await.unwrap();
        assert!(received == vec![stream; WINDOW as usize]);
    }
}
