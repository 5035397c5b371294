//! The guest link of a floor whose VMM a script starts.

use std::os::fd::{AsFd, OwnedFd};

use tokio::net::UnixStream;

/// That which standard input is.
pub(crate) fn link() -> std::io::Result<UnixStream> {
    let link: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned()?;
    let link = std::os::unix::net::UnixStream::from(link);
    link.set_nonblocking(true)?;
    UnixStream::from_std(link)
}
