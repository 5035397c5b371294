//! Hosts that come anew to a guest that noticed nothing.

use banger_link::{LinkError, connect_host};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::port::Port;
use crate::{MAGIC, bulk, echo, spawn_guest, within};

/// Bytes on the way in each direction when a host goes, as measured with QEMU.
const STALE: usize = 400 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reconnect_under_bulk_traffic_works() {
    let (port, guest) = Port::new(STALE);
    let guest = spawn_guest(guest);
    for round in 0..60 {
        let session = within(connect_host(port.attach(), MAGIC)).await.unwrap();
        let text = format!("round {round}");
        assert_eq!(within(echo(&session, text.as_bytes())).await.unwrap(), text.as_bytes());
        // Bulk both ways on several streams, cut when one of them has moved enough.
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let session = session.clone();
                tokio::spawn(async move { bulk(&session, u64::MAX).await })
            })
            .collect();
        within(bulk(&session, 1 << 20)).await.unwrap();
        drop(port.attach());
        drop(session);
        for task in tasks {
            task.abort();
        }
    }
    assert!(!guest.is_finished());
}

#[tokio::test]
async fn a_new_host_fails_the_streams_of_the_old_one_in_the_guest() {
    let (port, guest) = Port::new(STALE);
    let (send, mut streams) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(banger_link::serve_guest(guest, MAGIC, move |stream| drop(send.send(stream))));
    let old = within(connect_host(port.attach(), MAGIC)).await.unwrap();
    let mut stream = old.open().await.unwrap();
    stream.write_all(b"x").await.unwrap();
    let mut far = within(streams.recv()).await.unwrap();
    assert_eq!(within(far.read_u8()).await.unwrap(), b'x');

    let new = within(connect_host(port.attach(), MAGIC)).await.unwrap();
    within(far.read_u8()).await.unwrap_err();
    within(far.write_all(b"y")).await.unwrap_err();
    let mut stream = new.open().await.unwrap();
    stream.write_all(b"z").await.unwrap();
    assert_eq!(within(within(streams.recv()).await.unwrap().read_u8()).await.unwrap(), b'z');
}

#[tokio::test]
async fn a_guest_that_restarts_ends_the_session_it_does_not_know() {
    let (host, mut guest) = tokio::io::duplex(1 << 16);
    let connect = tokio::spawn(connect_host(host, MAGIC));
    // The first agent goes without closing its end: the pipe is lent to it only.
    let session = {
        let mut raw = crate::raw::RawGuest::new(&mut guest);
        within(raw.shake_hands()).await;
        within(connect).await.unwrap().unwrap()
    };
    spawn_guest(guest);
    assert!(matches!(*within(session.closed()).await, LinkError::Restarted));
}

#[tokio::test]
async fn a_host_that_was_there_first_is_answered_at_once() {
    tokio::time::pause();
    let (port, guest) = Port::new(STALE);
    let connect = tokio::spawn(connect_host(port.attach(), MAGIC));
    tokio::task::yield_now().await;
    spawn_guest(guest);
    let before = tokio::time::Instant::now();
    connect.await.unwrap().unwrap();
    assert_eq!(before.elapsed(), std::time::Duration::ZERO);
}
