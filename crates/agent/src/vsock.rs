//! The virtio socket under the guest link, where the VMM has no virtio-serial port: the guest connects
//! to the host.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, VsockAddr, connect, socket};
use tokio::net::UnixStream;

/// The host's context id (virtio 1.2, 5.10.4).
const HOST: u32 = 2;
/// How long to wait after the host has refused a connection. It listens for as long as the VM runs, so
/// this is for moments at which it changes hands.
const PAUSE: Duration = Duration::from_millis(100);

/// Where the host listens.
#[derive(Debug)]
pub(crate) struct HostPort(u32);

impl HostPort {
    /// The host's port `port`.
    pub(crate) fn new(port: u32) -> Self {
        Self(port)
    }

    /// Connects to the host, however often that takes.
    pub(crate) async fn connected(&self) -> io::Result<UnixStream> {
        loop {
            match self.connect().await {
                Ok(stream) => return Ok(stream),
                Err(error) if is_refusal(&error) => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(error),
            }
        }
    }

    async fn connect(&self) -> io::Result<UnixStream> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Vsock, SockType::Stream, flags, None)?;
        match connect(socket.as_raw_fd(), &VsockAddr::new(HOST, self.0)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        // Connected, every kind of stream socket is read, written and shut down alike; tokio knows those
        // of unix.
        let stream = UnixStream::from_std(StdUnixStream::from(socket))?;
        stream.writable().await?;
        match stream.take_error()? {
            None => Ok(stream),
            Some(error) => Err(error),
        }
    }
}

/// Whether the host, and not this kernel, was the reason.
fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, TimedOut};
    matches!(error.kind(), ConnectionRefused | ConnectionReset | TimedOut)
}
