//! The virtio-serial port under the guest link.
//!
//! What is peculiar about such a port:
//!
//! - While no host is connected, `poll` says hang-up, reads give 0 and writes EAGAIN. tokio's
//!   `AsyncFd` remembers a hang-up for good, so every connection gets a registration of its own,
//!   and EAGAIN of a hung-up port is an error instead of a reason to wait.
//! - The end of a hang-up is an event of edge-triggered epoll only, which [`Port::connected`]
//!   therefore uses by itself.
//! - Only one file may be open on it, and closing it throws away what has arrived: it is opened
//!   once for the life of the agent.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use crate::sys::{self, Watched};
use crate::uevent::Uevents;

/// Name of the port that the link uses; the host gives it to the device.
const PORT_NAME: &str = "banger.link";
/// Where the kernel lists ports.
const PORTS: &str = "/sys/class/virtio-ports";

/// The opened port.
#[derive(Debug)]
pub(crate) struct Port(Arc<OwnedFd>);

impl Port {
    /// Finds and opens the port; waits for the device as long as it takes.
    pub(crate) fn open() -> io::Result<Self> {
        let uevents = Uevents::open()?;
        loop {
            if let Some(device) = find_device(Path::new(PORTS)) {
                let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
                let fd = rustix::fs::open(&device, flags, Mode::empty())
                    .map_err(|errno| crate::root::named(errno, &device))?;
                return Ok(Self(Arc::new(fd)));
            }
            uevents.wait(None)?;
        }
    }

    /// Waits until a host is connected, then gives the byte stream to it.
    pub(crate) async fn connected(&self) -> io::Result<PortStream> {
        let poller = epoll::create(CreateFlags::CLOEXEC)?;
        let events = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        epoll::add(&poller, &self.0, EventData::new_u64(0), events)?;
        // An epoll file is itself something that can be waited for.
        let poller = sys::watch(Arc::new(poller), Interest::READABLE)?;
        while observe(&self.0)?.contains(PollFlags::HUP) {
            let mut guard = poller.readable().await?;
            let mut events = Vec::with_capacity(1);
            epoll::wait(guard.get_inner(), spare_capacity(&mut events), Some(&NO_TIME))?;
            guard.clear_ready();
        }
        let port = sys::watch(Arc::clone(&self.0), Interest::READABLE | Interest::WRITABLE)?;
        Ok(PortStream { port, input: false, reader: None })
    }
}

const NO_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// What the port is ready for now.
///
/// Asking has a side effect: the kernel takes a buffer that has just arrived, and then neither
/// interrupts nor tells epoll about it. So whoever asks must act on `IN`.
fn observe(fd: &impl AsFd) -> io::Result<PollFlags> {
    let mut fds = [PollFd::new(fd, PollFlags::IN | PollFlags::OUT)];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&NO_TIME)))?;
    Ok(fds[0].revents())
}

/// The device file of the port with the link's name.
fn find_device(ports: &Path) -> Option<PathBuf> {
    std::fs::read_dir(ports).ok()?.flatten().find_map(|port| {
        let name = std::fs::read_to_string(port.path().join("name")).ok()?;
        (name.trim_end() == PORT_NAME).then(|| Path::new("/dev").join(port.file_name()))
    })
}

/// The port while one host is connected. Ends with 0 or an error when the host hangs up.
#[derive(Debug)]
pub(crate) struct PortStream {
    port: Watched,
    /// Input that was seen on the way to something else, and of which epoll will not tell.
    input: bool,
    /// Who waits for input.
    reader: Option<Waker>,
}

impl AsyncRead for PortStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { port, input, reader } = &mut *self;
        loop {
            let guard = if std::mem::take(input) {
                None
            } else if let Poll::Ready(guard) = port.poll_read_ready(cx)? {
                Some(guard)
            } else {
                *reader = Some(cx.waker().clone());
                return Poll::Pending;
            };
            let unfilled = buffer.initialize_unfilled();
            match rustix::io::read(port.get_ref(), unfilled) {
                Ok(length) => {
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Err(Errno::AGAIN) => {
                    let now = observe(port.get_ref())?;
                    if now.contains(PollFlags::HUP) {
                        return Poll::Ready(Ok(()));
                    }
                    *input = now.contains(PollFlags::IN);
                    if let Some(mut guard) = guard.filter(|_| !*input) {
                        guard.clear_ready();
                    }
                }
                Err(Errno::INTR) => *input = true,
                Err(errno) => return Poll::Ready(Err(errno.into())),
            }
        }
    }
}

impl AsyncWrite for PortStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { port, input, reader } = &mut *self;
        loop {
            let mut guard = ready!(port.poll_write_ready(cx))?;
            match rustix::io::write(guard.get_inner(), bytes) {
                Ok(length) => return Poll::Ready(Ok(length)),
                Err(Errno::AGAIN) => {
                    let now = observe(guard.get_inner())?;
                    if now.contains(PollFlags::IN) {
                        *input = true;
                        reader.take().into_iter().for_each(Waker::wake);
                    }
                    if now.contains(PollFlags::HUP) {
                        return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                    }
                    if !now.contains(PollFlags::OUT) {
                        guard.clear_ready();
                    }
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Poll::Ready(Err(errno.into())),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// A port has no half-close; the link's own marker begins the next session.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_found_by_its_name() {
        let ports = tempfile::tempdir().unwrap();
        for (device, name) in [("vport0p1", "org.qemu.guest_agent.0"), ("vport1p1", PORT_NAME)] {
            std::fs::create_dir(ports.path().join(device)).unwrap();
            std::fs::write(ports.path().join(device).join("name"), format!("{name}\n")).unwrap();
        }
        // The name comes later than the port: one without a name yet is passed over.
        std::fs::create_dir(ports.path().join("vport2p1")).unwrap();
        assert_eq!(find_device(ports.path()), Some(PathBuf::from("/dev/vport1p1")));
    }
}
