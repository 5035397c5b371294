//! The guest link from the outside: both real ends over in-process pipes and socket pairs, and
//! hostile peers written byte by byte.

#![expect(clippy::unwrap_used, reason = "all of this crate is a test")]

mod check;
mod hostile;
mod port;
mod raw;
mod reconnect;
mod smoke;
mod soak;
mod streams;

use std::sync::LazyLock;
use std::time::Duration;

use banger_link::{LinkStream, Session, connect_host, serve_guest};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

pub(crate) use raw::MAGIC;

/// Waits for an event that must come; long enough for the busiest machine.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(120), future).await.expect("in time")
}

/// A guest whose streams are served by [`serve`].
pub(crate) fn spawn_guest<T>(io: T) -> JoinHandle<Result<(), banger_link::LinkError>>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    tokio::spawn(serve_guest(io, MAGIC, |stream| drop(tokio::spawn(serve(stream)))))
}

/// Both ends over an in-process pipe of `capacity` bytes each way.
pub(crate) async fn pair(capacity: usize) -> Session {
    let (host, guest) = duplex(capacity);
    spawn_guest(guest);
    within(connect_host(host, MAGIC)).await.unwrap()
}

/// Both ends over a socket pair.
pub(crate) async fn socket_pair() -> Session {
    let (host, guest) = UnixStream::pair().unwrap();
    spawn_guest(guest);
    within(connect_host(host, MAGIC)).await.unwrap()
}

/// Both ends on a pipe, with the streams that the guest gets.
pub(crate) async fn open_pair() -> (Session, tokio::sync::mpsc::UnboundedReceiver<LinkStream>) {
    let (host, guest): (DuplexStream, _) = duplex(1 << 16);
    let (send, streams) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(serve_guest(guest, MAGIC, move |stream| drop(send.send(stream))));
    (within(connect_host(host, MAGIC)).await.unwrap(), streams)
}

/// What the guest does with a stream, told by its first byte.
pub(crate) async fn serve(mut stream: LinkStream) -> std::io::Result<()> {
    match stream.read_u8().await? {
        b'e' => {
            let (mut from, mut to) = tokio::io::split(stream);
            tokio::io::copy(&mut from, &mut to).await?;
            to.shutdown().await
        }
        // As many bytes as the next eight say, both ways at once.
        b'b' => {
            let len = stream.read_u64().await?;
            let (from, to) = tokio::io::split(stream);
            tokio::try_join!(receive_pattern(from, len), send_pattern(to, len))?;
            Ok(())
        }
        other => panic!("unknown service {other}"),
    }
}

/// Largest piece in which patterns are moved.
const PIECE: usize = 64 << 10;

/// Bytes whose order can be checked: those from `offset` on repeat with a prime period.
fn pattern(offset: u64) -> &'static [u8] {
    const PERIOD: usize = 251;
    static BYTES: LazyLock<Vec<u8>> =
        LazyLock::new(|| (0..PERIOD + PIECE).map(|n| (n % PERIOD) as u8).collect());
    &BYTES[(offset % PERIOD as u64) as usize..]
}

pub(crate) async fn send_pattern(mut to: impl AsyncWrite + Unpin, len: u64) -> std::io::Result<()> {
    let mut sent = 0;
    while sent < len {
        let n = (len - sent).min(PIECE as u64);
        to.write_all(&pattern(sent)[..n as usize]).await?;
        sent += n;
    }
    to.shutdown().await
}

pub(crate) async fn receive_pattern(
    mut from: impl AsyncRead + Unpin,
    len: u64,
) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut received = 0;
    loop {
        let n = from.read(&mut piece).await?;
        if n == 0 {
            assert_eq!(received, len);
            return Ok(());
        }
        assert!(piece[..n] == pattern(received)[..n], "bytes after {received} are wrong");
        received += n as u64;
    }
}

pub(crate) async fn echo(session: &Session, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let stream = session.open().await.map_err(std::io::Error::other)?;
    let (mut from, mut to) = tokio::io::split(stream);
    let send = async {
        to.write_all(b"e").await?;
        to.write_all(bytes).await?;
        to.shutdown().await
    };
    let mut back = Vec::new();
    tokio::try_join!(send, from.read_to_end(&mut back))?;
    Ok(back)
}

/// Opens a stream that carries `len` bytes each way, and moves them.
pub(crate) async fn bulk(session: &Session, len: u64) -> std::io::Result<()> {
    let mut stream = session.open().await.map_err(std::io::Error::other)?;
    stream.write_u8(b'b').await?;
    stream.write_u64(len).await?;
    let (from, to) = tokio::io::split(stream);
    tokio::try_join!(send_pattern(to, len), receive_pattern(from, len))?;
    Ok(())
}
