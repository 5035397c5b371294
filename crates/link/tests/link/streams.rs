//! Streams of one session: their data, their ends, their number.

use std::io::ErrorKind;

use banger_link::{LinkError, connect_host, serve_guest};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::{MAGIC, echo, open_pair, pair, serve, socket_pair, within};

#[tokio::test]
async fn echoes_over_a_pipe_and_over_sockets() {
    let bytes: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
    for session in [pair(1 << 16).await, pair(13).await, socket_pair().await] {
        assert!(within(echo(&session, &bytes)).await.unwrap() == bytes);
        assert_eq!(within(echo(&session, b"")).await.unwrap(), b"");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_streams_pass_one_that_nobody_reads() {
    let session = socket_pair().await;
    // The guest fills this stream's window and waits; nobody reads it.
    let mut stuck = session.open().await.unwrap();
    stuck.write_all(b"b\0\0\0\0\x01\0\0\0").await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..200u8 {
        let session = session.clone();
        tasks.spawn(async move {
            let bytes = vec![n; 100_000];
            assert!(echo(&session, &bytes).await.unwrap() == bytes);
        });
    }
    within(async { while tasks.join_next().await.map(Result::unwrap).is_some() {} }).await;
}

#[tokio::test]
async fn a_shut_down_stream_still_receives() {
    let (session, mut streams) = open_pair().await;
    let mut near = session.open().await.unwrap();
    near.write_all(b"question").await.unwrap();
    near.shutdown().await.unwrap();
    assert_eq!(near.write(b"more").await.unwrap_err().kind(), ErrorKind::BrokenPipe);

    let mut far = within(streams.recv()).await.unwrap();
    let mut text = String::new();
    within(far.read_to_string(&mut text)).await.unwrap();
    far.write_all(b"answer").await.unwrap();
    far.shutdown().await.unwrap();

    text.clear();
    within(near.read_to_string(&mut text)).await.unwrap();
    assert_eq!(text, "answer");
}

#[tokio::test]
async fn a_stream_that_is_only_shut_down_is_announced() {
    let (session, mut streams) = open_pair().await;
    let mut near = session.open().await.unwrap();
    near.shutdown().await.unwrap();
    let mut far = within(streams.recv()).await.unwrap();
    assert_eq!(within(far.read(&mut [0; 8])).await.unwrap(), 0);
}

#[tokio::test]
async fn dropping_a_stream_resets_it() {
    let (session, mut streams) = open_pair().await;
    let mut near = session.open().await.unwrap();
    near.write_all(b"partial").await.unwrap();
    drop(near);
    let mut far = within(streams.recv()).await.unwrap();
    let mut got = [0; 7];
    within(far.read_exact(&mut got)).await.unwrap();
    assert_eq!(within(far.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(far.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);

    let mut near = session.open().await.unwrap();
    near.write_all(b"x").await.unwrap();
    drop(within(streams.recv()).await.unwrap());
    assert_eq!(within(near.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_peer_that_is_not_heard_out_does_not_hang() {
    let (session, mut streams) = open_pair().await;
    let mut near = session.open().await.unwrap();
    near.shutdown().await.unwrap();
    drop(near);
    let mut far = within(streams.recv()).await.unwrap();
    // Several windows, into a stream that the host no longer has.
    within(far.write_all(&vec![0; 2 << 20])).await.unwrap();
    within(far.shutdown()).await.unwrap();
}

#[tokio::test]
async fn the_end_of_the_guest_ends_the_session() {
    let (host, guest) = duplex(1 << 16);
    let guest = tokio::spawn(serve_guest(guest, MAGIC, |stream| drop(tokio::spawn(serve(stream)))));
    let session = within(connect_host(host, MAGIC)).await.unwrap();
    let mut open = session.open().await.unwrap();
    open.write_all(b"e").await.unwrap();
    let mut shut_down = session.open().await.unwrap();
    shut_down.write_all(b"b\0\0\0\0\0\0\0\x01").await.unwrap();
    shut_down.shutdown().await.unwrap();

    guest.abort();
    assert!(matches!(*within(session.closed()).await, LinkError::Ended));
    for mut stream in [open, shut_down] {
        let mut rest = Vec::new();
        let error = within(stream.read_to_end(&mut rest)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(stream.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
    assert!(matches!(session.open().await, Err(LinkError::Closed)));
    assert!(session.accept().await.is_none());
}

#[tokio::test]
async fn dropping_the_session_ends_the_guest() {
    let (host, guest) = duplex(1 << 16);
    let guest = crate::spawn_guest(guest);
    let session = within(connect_host(host, MAGIC)).await.unwrap();
    let mut stream = session.open().await.unwrap();
    stream.write_all(b"e").await.unwrap();
    drop(session);
    within(guest).await.unwrap().unwrap();
    assert_eq!(within(stream.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn too_many_streams_are_refused_and_harm_nobody() {
    let session = pair(1 << 16).await;
    let mut streams = Vec::new();
    let refused = loop {
        match within(session.open()).await {
            Ok(mut stream) => {
                stream.write_all(b"e").await.unwrap();
                streams.push(stream);
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, LinkError::TooManyStreams(256)), "{refused:?}");
    assert_eq!(streams.len(), 256);
    drop(streams);
    assert_eq!(within(echo(&session, b"still here")).await.unwrap(), b"still here");
}

#[tokio::test]
async fn streams_dropped_faster_than_the_link_can_tell_harm_nobody() {
    // Seven bytes at a time: the link is always waiting to write.
    let session = pair(7).await;
    for _ in 0..1500 {
        let mut stream = within(session.open()).await.unwrap();
        stream.write_all(b"e").await.unwrap();
    }
    assert_eq!(within(echo(&session, b"still here")).await.unwrap(), b"still here");
}
