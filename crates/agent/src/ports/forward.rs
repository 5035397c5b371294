//! A TCP connection to a port of the guest, as one stream.
//!
//! ```text
//!           one direction ends: told on alone
//!   both ───────────────────────────────────▶ one ──ends──▶ closed
//!    │ either breaks                           │ breaks, or silent for `HALF_CLOSED_PATIENCE`
//!    ▼                                         ▼
//!   reset                                     reset
//! ```

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use banger_link::framed::FramedError;
use banger_proto::guest::ForwardRequest;
use banger_proto::guest::frame::Kind;
use banger_proto::{Code, Problem};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, copy_buf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::io::InspectReader;

use super::sockets;
use crate::context::Context;
use crate::services::{FromHost, ServiceError, ToHost, require_configured};

/// How long a listener of the guest itself may take to let us in: its queue is full all that time.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection of which one direction has ended may carry nothing in the other: as long
/// as the kernel's connection tracking remembers one (`nf_conntrack_tcp_timeout_fin_wait`). Whoever
/// forgets to close would otherwise keep its stream for good, and a link has so many.
const HALF_CLOSED_PATIENCE: Duration = Duration::from_secs(120);
/// Bytes copied at once, in each direction.
const COPY_BUFFER: usize = 16 << 10;

/// Connects, and carries bytes both ways until both sides have said all.
pub(crate) async fn serve(
    context: &Context,
    request: ForwardRequest,
    from_host: &mut FromHost,
    to_host: &mut ToHost,
) -> Result<(), ServiceError> {
    require_configured(context)?;
    let port = request.port;
    let socket = connect(port).await.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            let message = format!("nobody listens at TCP port {port} of the guest");
            Problem::new(Code::NotFound, message).cause("connection refused")
        }
        _ => {
            let message = format!("cannot connect to TCP port {port} of the guest");
            Problem::new(Code::OperationFailed, message).because(&error)
        }
    })?;
    to_host.send_json(Kind::Accepted, &serde_json::json!({})).await?;
    let carried = carry(from_host.bytes(), to_host.bytes(), socket, HALF_CLOSED_PATIENCE).await;
    Ok(carried.map_err(FramedError::from)?)
}

/// Connects to whoever listens at `port`: at the loopback address, which includes who listens at
/// all addresses, else at an address of its own.
async fn connect(port: u16) -> io::Result<TcpStream> {
    match connect_to(Ipv4Addr::LOCALHOST.into(), port).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        connected => return connected,
    }
    match connect_to(Ipv6Addr::LOCALHOST.into(), port).await {
        // Nobody, or a kernel without IPv6.
        Err(error) if error.kind() != io::ErrorKind::TimedOut => {}
        connected => return connected,
    }
    let addresses = tokio::task::spawn_blocking(move || sockets::observe_addresses(port));
    let addresses = addresses.await.map_err(io::Error::other)??;
    let mut last = io::ErrorKind::ConnectionRefused.into();
    for address in addresses.into_iter().filter(|address| !address.is_unspecified()) {
        match connect_to(address, port).await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect_to(address: IpAddr, port: u16) -> io::Result<TcpStream> {
    let connected = timeout(CONNECT_DEADLINE, TcpStream::connect((address, port))).await;
    let socket = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    require_another(&socket)?;
    // Whoever sends little, sends it for somebody who waits.
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Refuses a socket that is connected with itself: where nobody listens, the kernel may choose the
/// very port to connect from.
fn require_another(socket: &TcpStream) -> io::Result<()> {
    if socket.local_addr()? == socket.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(())
}

/// Carries bytes both ways. Each end is told on alone. When something breaks, or a connection that
/// has ended in one direction is silent for longer than `patience`, both sides are to see that
/// it was no proper end.
async fn carry<R, W>(
    from_host: &mut R,
    to_host: &mut W,
    mut socket: TcpStream,
    patience: Duration,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (from_guest, to_guest) = socket.split();
    let (moved, half_closed) = (AtomicU64::new(0), Notify::new());
    let carried = tokio::select! {
        both = async {
            tokio::try_join!(
                pass(from_host, to_guest, &moved, &half_closed),
                pass(from_guest, to_host, &moved, &half_closed),
            )
        } => both.map(|_| ()),
        () = forgotten(&moved, &half_closed, patience) => Err(io::ErrorKind::TimedOut.into()),
    };
    if carried.is_err() {
        // A reset rather than an end.
        let _ = socket.set_zero_linger();
    }
    carried
}

/// Passes one direction on to its end, and that, too.
async fn pass<R, W>(from: R, mut to: W, moved: &AtomicU64, half_closed: &Notify) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let counted = InspectReader::new(from, |bytes| {
        moved.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    });
    copy_buf(&mut BufReader::with_capacity(COPY_BUFFER, counted), &mut to).await?;
    to.shutdown().await?;
    half_closed.notify_one();
    Ok(())
}

/// Returns when one direction has ended and nothing has moved in the other for `patience`, twice as
/// long at most.
async fn forgotten(moved: &AtomicU64, half_closed: &Notify, patience: Duration) {
    half_closed.notified().await;
    loop {
        let before = moved.load(Ordering::Relaxed);
        tokio::time::sleep(patience).await;
        if moved.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, DuplexStream, duplex, split};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    struct Pair {
        listener: TcpListener,
        carried: JoinSet<io::Result<()>>,
    }

    impl Pair {
        async fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            Self { listener, carried: JoinSet::new() }
        }

        /// A connection that is carried: the host's end and the server's.
        async fn connect(&mut self) -> (DuplexStream, TcpStream) {
            let port = self.listener.local_addr().unwrap().port();
            let socket = connect(port).await.unwrap();
            let (server, _) = self.listener.accept().await.unwrap();
            let (host, agent) = duplex(64 << 10);
            self.carried.spawn(async move {
                let (mut from_host, mut to_host) = split(agent);
                carry(&mut from_host, &mut to_host, socket, SOON).await
            });
            (host, server)
        }

        async fn ended(&mut self) -> io::Result<()> {
            let ended = timeout(Duration::from_secs(60), self.carried.join_next()).await;
            ended.expect("it hangs").unwrap().unwrap()
        }
    }

    #[tokio::test]
    async fn half_closed_connections_that_nobody_closes_are_ended() {
        let mut pair = Pair::new().await;
        let mut open = Vec::new();
        for at in 0..256 {
            let (mut host, mut server) = pair.connect().await;
            // Either side may be the one that forgets.
            match at % 2 {
                0 => host.shutdown().await.unwrap(),
                _ => server.shutdown().await.unwrap(),
            }
            open.push((host, server));
        }
        for _ in 0..256 {
            assert_eq!(pair.ended().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
        // Nothing is held for those who still have their ends, and a server sees no proper end.
        for (at, (mut host, mut server)) in open.into_iter().enumerate() {
            assert_eq!(host.read(&mut [0; 8]).await.unwrap(), 0);
            let heard = server.read_to_end(&mut Vec::new()).await;
            if at % 2 == 1 {
                assert_eq!(heard.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
            }
        }
    }

    #[tokio::test]
    async fn a_connection_that_is_open_in_both_directions_may_be_silent() {
        let mut pair = Pair::new().await;
        let (silent, _server) = pair.connect().await;
        let (mut host, _other) = pair.connect().await;
        host.shutdown().await.unwrap();
        // By the time that this one is given up, the other would have been, too.
        assert_eq!(pair.ended().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(pair.carried.len(), 1);
        drop(silent);
    }

    #[tokio::test(start_paused = true)]
    async fn only_silence_after_an_end_is_held_against_a_connection() {
        let (moved, half_closed) = (AtomicU64::new(0), Notify::new());
        let patience = Duration::from_secs(120);
        let forgotten = forgotten(&moved, &half_closed, patience);
        tokio::pin!(forgotten);
        let day = Duration::from_secs(24 * 3600);
        assert!(timeout(day, &mut forgotten).await.is_err(), "both directions are open");
        half_closed.notify_one();
        for _ in 0..100 {
            assert!(timeout(patience / 2, &mut forgotten).await.is_err(), "it carries something");
            moved.fetch_add(1, Ordering::Relaxed);
        }
        assert!(timeout(3 * patience, &mut forgotten).await.is_ok());
    }

    #[tokio::test]
    async fn a_socket_that_is_connected_with_itself_is_nobodys() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let itself = socket.local_addr().unwrap();
        let socket = socket.connect(itself).await.unwrap();
        let error = require_another(&socket).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
