//! The kernel's announcements of devices, for waiting until one is there.
//!
//! Use: open, look for the device, and only then wait; so nothing that appears between the look
//! and the wait is missed.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

/// Multicast group of the kernel's own announcements (udev's have another).
const KERNEL_GROUP: u32 = 1;

/// A subscription.
#[derive(Debug)]
pub(crate) struct Uevents(OwnedFd);

impl Uevents {
    /// Subscribes.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            flags,
            Some(KOBJECT_UEVENT),
        )?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
        Ok(Self(socket))
    }

    /// Blocks until something was announced; false when `deadline` passed first. What it was is
    /// not read: the announcement of a name does not carry the name, so callers look again.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> io::Result<bool> {
        let timeout =
            deadline.map(|deadline| timespec(deadline.saturating_duration_since(Instant::now())));
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        // An overflow (ENOBUFS) means that much has happened: a reason to look, not a failure.
        let mut buffer = [0; 4096];
        while rustix::net::recv(&self.0, &mut buffer, RecvFlags::empty()).is_ok() {}
        Ok(true)
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
