//! The agent's end of a command's pipe or terminal.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use banger_proto::guest::TerminalSize;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::termios::Winsize;
use tokio::io::Interest;

use crate::sys::{self, Watched};

/// A file that is read and written without blocking. Clones are the same file: a terminal is
/// input and output at once.
#[derive(Debug, Clone)]
pub(crate) struct Stream(Arc<Watched>);

impl Stream {
    /// Takes over `fd`, whose open file the command must not share.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        Ok(Self(Arc::new(sys::watch(Arc::new(fd), interest)?)))
    }

    /// Reads into `buffer`; 0 at the end.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut guard = self.0.readable().await?;
            let read = |fd: &Watched| match rustix::io::read(fd, &mut *buffer) {
                // How a terminal says that the last program has closed it.
                Err(Errno::IO) => Ok(0),
                other => other.map_err(io::Error::from),
            };
            match guard.try_io(read) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }

    /// Writes as much of `bytes` as there is room for, once there is some. Cancel-safe: a
    /// dropped future has written nothing.
    ///
    /// # Errors
    /// When nobody will ever read it, besides errors of the system.
    pub(super) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let mut guard = self.0.writable().await?;
            let closed = guard.ready().is_write_closed();
            match guard.try_io(|fd| rustix::io::write(fd, bytes).map_err(io::Error::from)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(result) => return result,
                // A full terminal that the last program has closed: always ready, by the
                // hang-up, and never with room.
                Err(_would_block) if closed => return Err(io::ErrorKind::BrokenPipe.into()),
                Err(_would_block) => {}
            }
        }
    }

    /// Bytes that could be read at once; 0 where the kernel does not say.
    pub(super) fn unread(&self) -> u64 {
        rustix::io::ioctl_fionread(self.0.as_fd()).unwrap_or(0)
    }

    /// The number of a pipe, the same for both of its ends; none when the kernel does not say.
    pub(crate) fn inode(&self) -> Option<u64> {
        Some(rustix::fs::fstat(self.0.as_fd()).ok()?.st_ino)
    }

    /// Changes a terminal's size.
    pub(super) fn resize(&self, size: TerminalSize) {
        // Pipes have none, and a host that resizes one has made its own mistake.
        let _ = rustix::termios::tcsetwinsize(self.0.as_fd(), winsize(size));
    }
}

/// The size as the kernel has it.
pub(super) fn winsize(size: TerminalSize) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 }
}
