//! The crate's only unsafe code: waiting for a descriptor.
#![expect(unsafe_code, reason = "tokio cannot know that a type keeps its descriptor open")]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Lets `fd` be waited for until it can be read.
///
/// # Errors
/// When the kernel cannot wait for such a descriptor (regular files, `/dev/null`).
pub(crate) fn watch_readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names one open descriptor as long as it lives, and the `AsyncFd`
    // owns it from here on.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(Into::into)
}
