//! Standard input, read without a thread: a thread blocked in `read` could not be called back
//! and would swallow what is typed after the session has ended.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::unix::AsyncFd;

use crate::sys::watch_readable;

/// Standard input.
#[derive(Debug)]
pub(crate) enum Input {
    /// A terminal, pipe or socket: waited for.
    Waiting(AsyncFd<OwnedFd>),
    /// A regular file or `/dev/null`, which epoll refuses and which never keeps a reader waiting.
    Immediate,
}

impl Input {
    /// Opens standard input for reading. It stays a blocking descriptor: its mode is shared with
    /// the shell and whoever else has it.
    pub(crate) fn open() -> Self {
        rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 0)
            .map_err(io::Error::from)
            .and_then(watch_readable)
            .map_or(Self::Immediate, Self::Waiting)
    }

    /// Reads what there is into `buffer`; zero at the end of input. Cancel-safe.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Immediate => Ok(rustix::io::read(rustix::stdio::stdin(), buffer)?),
            Self::Waiting(stdin) => loop {
                let mut ready = stdin.readable().await?;
                let read = ready.try_io(|_| {
                    if has_input()? {
                        Ok(rustix::io::read(rustix::stdio::stdin(), &mut *buffer)?)
                    } else {
                        Err(io::ErrorKind::WouldBlock.into())
                    }
                });
                match read {
                    Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                    Ok(read) => return read,
                    Err(_would_block) => {}
                }
            },
        }
    }
}

/// Whether a read would return at once: readiness is reported once per change, and the
/// descriptor blocks, so every read asks again.
fn has_input() -> io::Result<bool> {
    let now = Timespec::try_from(Duration::ZERO).ok();
    let stdin = rustix::stdio::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    Ok(poll(&mut fds, now.as_ref())? > 0)
}
