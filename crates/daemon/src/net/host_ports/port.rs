//! One port of the host: who is let in, and the connections.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use banger_proto::VmId;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Allowed;
use super::seldom::Seldom;
use crate::shares::{Share, Shares};

/// How long to wait when the host has run out of something: the end of a connection frees some of it,
/// and no event tells that something else did.
const SHORTAGE_PAUSE: Duration = Duration::from_secs(1);

/// A connection, and where it comes from.
type Accepted = io::Result<(TcpStream, SocketAddr)>;

/// Serves `port` for ever to who connects to `listener` and is `allowed` to, as far as there are
/// `shares`.
pub(super) async fn serve(
    listener: TcpListener,
    port: u16,
    allowed: watch::Receiver<Allowed>,
    shares: Shares,
) {
    serve_by(|context| listener.poll_accept(context), port, allowed, shares).await;
}

/// The same; how connections come is a parameter, since a test cannot take the descriptors of a process
/// in which there are others.
async fn serve_by(
    mut accept: impl FnMut(&mut Context<'_>) -> Poll<Accepted>,
    port: u16,
    allowed: watch::Receiver<Allowed>,
    shares: Shares,
) {
    let mut connections = JoinSet::new();
    let (mut full, mut failing) = (Seldom::default(), Seldom::default());
    loop {
        tokio::select! {
            accepted = poll_fn(&mut accept) => match accepted {
                Ok((guest, from)) => {
                    let Some(right) = Right::of(from, port, &allowed) else { continue };
                    if let Some(share) = shares.take(from.ip()) {
                        connections.spawn(carry(guest, right, share));
                    } else if let Some(refused) = full.note(Instant::now()) {
                        let vm = &right.vm;
                        tracing::warn!(port, %vm, refused, "no more connections to a port of the host");
                    }
                }
                // Its own end of the connection is gone already.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if let Some(times) = failing.note(Instant::now()) {
                        tracing::warn!(port, %error, times, "cannot accept a guest's connection");
                    }
                    tokio::select! {
                        Some(_) = connections.join_next() => {}
                        () = tokio::time::sleep(SHORTAGE_PAUSE) => {}
                    }
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// That a guest may use the port.
struct Right {
    vm: VmId,
    port: u16,
    address: Ipv4Addr,
    allowed: watch::Receiver<Allowed>,
}

impl Right {
    /// That of whoever connects `from` there, if there is one.
    fn of(from: SocketAddr, port: u16, allowed: &watch::Receiver<Allowed>) -> Option<Self> {
        let IpAddr::V4(address) = from.ip() else { return None };
        let vm = allowed.borrow().get(&(port, address))?.clone();
        Some(Self { vm, port, address, allowed: allowed.clone() })
    }

    /// Waits until it is lost. The address may be somebody else's then.
    async fn lost(&mut self) {
        let (vm, place) = (&self.vm, (self.port, self.address));
        // Without who knows of it, nobody has it.
        let _ = self.allowed.wait_for(|allowed| allowed.get(&place) != Some(vm)).await;
    }
}

/// Joins the guest to the host's own port until both have said all; where nobody listens, the guest's
/// connection ends. What is cut short does not look as if all had been said.
async fn carry(mut guest: TcpStream, mut right: Right, _share: Share) {
    let program = (Ipv4Addr::LOCALHOST, right.port);
    let host = tokio::select! {
        () = right.lost() => return,
        host = TcpStream::connect(program) => host,
    };
    let Ok(mut host) = host else { return };
    let _ = (guest.set_nodelay(true), host.set_nodelay(true));
    let whole = tokio::select! {
        () = right.lost() => false,
        copied = copy_bidirectional(&mut guest, &mut host) => copied.is_ok(),
    };
    if !whole {
        let _ = (guest.set_zero_linger(), host.set_zero_linger());
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpSocket;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;

    /// The bridge, and guests. Nobody else's tests are here.
    const BRIDGE: Ipv4Addr = Ipv4Addr::new(127, 79, 0, 1);
    const ONE: Ipv4Addr = Ipv4Addr::new(127, 79, 0, 2);
    const TWO: Ipv4Addr = Ipv4Addr::new(127, 79, 0, 3);

    /// A port with a program of the host behind it.
    struct Rig {
        program: TcpListener,
        port: u16,
        at: SocketAddr,
        allowed: watch::Sender<Allowed>,
        _serving: AbortOnDropHandle<()>,
    }

    fn vm(number: u8) -> VmId {
        VmId::from_random([number; 6])
    }

    impl Rig {
        /// One with `shares` that both guests may use.
        async fn new(shares: Shares) -> Self {
            Self::with(shares, |listener, context| listener.poll_accept(context)).await
        }

        /// The same, where connections come by `accept`.
        async fn with(
            shares: Shares,
            mut accept: impl FnMut(&TcpListener, &mut Context<'_>) -> Poll<Accepted> + Send + 'static,
        ) -> Self {
            let listener = TcpListener::bind((BRIDGE, 0)).await.unwrap();
            let program = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let port = program.local_addr().unwrap().port();
            let at = listener.local_addr().unwrap();
            let both = [((port, ONE), vm(1)), ((port, TWO), vm(2))];
            let allowed = watch::Sender::new(Allowed::from(both));
            let accept = move |context: &mut Context<'_>| accept(&listener, context);
            let serving = tokio::spawn(serve_by(accept, port, allowed.subscribe(), shares));
            Self { program, port, at, allowed, _serving: AbortOnDropHandle::new(serving) }
        }

        async fn connect(&self, from: Ipv4Addr) -> TcpStream {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((from, 0).into()).unwrap();
            socket.connect(self.at).await.unwrap()
        }

        /// Both ends of a connection that is served.
        async fn join(&self, from: Ipv4Addr) -> (TcpStream, TcpStream) {
            let mut guest = self.connect(from).await;
            let (mut host, _) = soon(self.program.accept()).await.unwrap();
            works(&mut guest, &mut host).await;
            (guest, host)
        }
    }

    async fn soon<F: Future>(work: F) -> F::Output {
        tokio::time::timeout(Duration::from_secs(30), work).await.expect("it takes too long")
    }

    async fn works(guest: &mut TcpStream, host: &mut TcpStream) {
        says(guest, host).await;
        says(host, guest).await;
    }

    async fn says(from: &mut TcpStream, to: &mut TcpStream) {
        from.write_all(b"x").await.unwrap();
        assert_eq!(soon(to.read_u8()).await.unwrap(), b'x');
    }

    /// Whether the connection ended otherwise than by its other end having said all.
    async fn is_cut(stream: &mut TcpStream) -> bool {
        let mut rest = Vec::new();
        soon(stream.read_to_end(&mut rest)).await.is_err_and(|error| {
            assert_eq!((error.kind(), rest), (io::ErrorKind::ConnectionReset, Vec::new()));
            true
        })
    }

    #[tokio::test]
    async fn a_guest_that_takes_all_it_can_leaves_some_to_others() {
        let rig = Rig::new(Shares::new(3, 2)).await;
        let (_first, _second) = (rig.join(ONE).await, rig.join(ONE).await);
        let mut refused = rig.connect(ONE).await;
        assert_eq!(soon(refused.read(&mut [0])).await.unwrap(), 0);
        let _third = rig.join(TWO).await;
    }

    #[tokio::test]
    async fn a_connection_ends_with_the_right_to_it() {
        let rig = Rig::new(Shares::new(8, 8)).await;
        let (mut one, mut two) = (rig.join(ONE).await, rig.join(TWO).await);
        rig.allowed.send_modify(|allowed| drop(allowed.remove(&(rig.port, ONE))));
        assert!(is_cut(&mut one.0).await && is_cut(&mut one.1).await);
        let mut late = rig.connect(ONE).await;
        assert_eq!(soon(late.read(&mut [0])).await.unwrap(), 0);
        works(&mut two.0, &mut two.1).await;
        // Its address is another VM's now.
        rig.allowed.send_modify(|allowed| drop(allowed.insert((rig.port, TWO), vm(3))));
        assert!(is_cut(&mut two.0).await && is_cut(&mut two.1).await);
        rig.join(TWO).await;
    }

    #[tokio::test]
    async fn each_end_is_passed_on_alone() {
        let rig = Rig::new(Shares::new(1, 1)).await;
        let (mut guest, mut host) = rig.join(ONE).await;
        let (mut asked, mut answered) = (String::new(), String::new());
        guest.write_all(b"question").await.unwrap();
        guest.shutdown().await.unwrap();
        soon(host.read_to_string(&mut asked)).await.unwrap();
        host.write_all(b"answer").await.unwrap();
        drop(host);
        soon(guest.read_to_string(&mut answered)).await.unwrap();
        assert_eq!((asked.as_str(), answered.as_str()), ("question", "answer"));
    }

    #[tokio::test]
    async fn after_a_shortage_it_is_served_again() {
        let mut shortages = 1;
        let rig = Rig::with(Shares::new(1, 1), move |listener, context| {
            if shortages > 0 {
                shortages -= 1;
                return Poll::Ready(Err(rustix::io::Errno::MFILE.into()));
            }
            listener.poll_accept(context)
        })
        .await;
        rig.join(ONE).await;
    }
}
