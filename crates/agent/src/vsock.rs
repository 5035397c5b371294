//! The virtio socket under the guest link, where the VMM has no virtio-serial port: the host connects to a
//! port of the agent's, after the agent has rung at that of the host.
//!
//! Everybody in the guest can call the host, but listen at a port below 1024 only root, so whoever is
//! connected to there is the agent. The ring carries nothing: it spares the host to ask again and again.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, VsockAddr, bind, connect, getpeername, listen,
    socket,
};
use rustix::net::{SocketFlags, accept_with};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::sys::{self, Watched};

/// The host's context id (virtio 1.2, 5.10.4).
const HOST: u32 = 2;
/// Whichever context id the guest has (`VMADDR_CID_ANY`).
const ANY: u32 = u32::MAX;
/// Connections that wait to be accepted; the host makes the next when the last is over.
const BACKLOG: i32 = 4;
/// How long to wait after the host has refused a connection. It listens for as long as the VM runs, so
/// this is for moments at which it changes hands.
const PAUSE: Duration = Duration::from_millis(100);

/// The agent's port.
#[derive(Debug)]
pub(crate) struct GuestPort {
    listener: Arc<OwnedFd>,
    number: u32,
}

impl GuestPort {
    /// Listens at port `number`, below 1024.
    ///
    /// # Errors
    /// When the kernel has no virtio sockets, or somebody has the port.
    pub(crate) fn listen(number: u32) -> io::Result<Self> {
        let listener = open()?;
        bind(listener.as_raw_fd(), &VsockAddr::new(ANY, number))?;
        listen(&listener, Backlog::new(BACKLOG)?)?;
        Ok(Self { listener: Arc::new(listener), number })
    }

    /// Waits until the host has connected.
    pub(crate) async fn connected(&self) -> io::Result<UnixStream> {
        let listener = sys::watch(Arc::clone(&self.listener), Interest::READABLE)?;
        let mut rung = false;
        loop {
            tokio::select! {
                // First: who has come already need not be called, and who keeps others out by waiting
                // is sent away before somebody is called.
                biased;
                accepted = accept(&listener) => if let Some(host) = accepted? {
                    return Ok(host);
                },
                called = ring(self.number), if !rung => {
                    called?;
                    rung = true;
                }
            }
        }
    }
}

/// Waits until the transport under `stream` is reset (virtio 1.2, 5.10.6.6), by which a guest hears that it
/// goes on from what was saved of it, and the host's end is gone.
///
/// That is an error that can be waited for and nothing that can be read (Linux's `vsock_poll`), so who waits
/// for something to read never hears of it.
pub(crate) fn reset(stream: &UnixStream) -> io::Result<impl Future<Output = ()> + use<>> {
    let watched = sys::watch(Arc::new(stream.as_fd().try_clone_to_owned()?), Interest::ERROR)?;
    Ok(async move {
        // What else can come of waiting is that nobody can any more.
        let _ = watched.ready(Interest::ERROR).await;
    })
}

/// The next connection; none when it is not the host's.
async fn accept(listener: &Watched) -> io::Result<Option<UnixStream>> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let accepted = loop {
        let accept = |listener: &Arc<OwnedFd>| Ok(accept_with(listener, flags)?);
        match listener.async_io(Interest::READABLE, accept).await {
            // Whoever it was is gone again.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            accepted => break accepted?,
        }
    };
    // One that has been cut off meanwhile has no peer any more.
    let Ok(peer) = getpeername::<VsockAddr>(accepted.as_raw_fd()) else { return Ok(None) };
    (peer.cid() == HOST).then(|| stream(accepted)).transpose()
}

/// Calls the host at its port `number`, however often that takes.
async fn ring(number: u32) -> io::Result<()> {
    loop {
        match call(number).await {
            Err(error) if is_refusal(&error) => tokio::time::sleep(PAUSE).await,
            rung => return rung,
        }
    }
}

async fn call(number: u32) -> io::Result<()> {
    let socket = open()?;
    match connect(socket.as_raw_fd(), &VsockAddr::new(HOST, number)) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(errno) => return Err(errno.into()),
    }
    let stream = stream(socket)?;
    stream.writable().await?;
    stream.take_error()?.map_or(Ok(()), Err)
}

fn open() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    Ok(socket(AddressFamily::Vsock, SockType::Stream, flags, None)?)
}

/// Connected, every kind of stream socket is read, written and shut down alike; tokio knows those of unix.
fn stream(socket: OwnedFd) -> io::Result<UnixStream> {
    UnixStream::from_std(StdUnixStream::from(socket))
}

/// Whether the host, and not this kernel, was the reason.
fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, TimedOut};
    matches!(error.kind(), ConnectionRefused | ConnectionReset | TimedOut)
}
