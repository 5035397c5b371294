//! A helper that serves in the namespace.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::process::{Child, Command};

use super::super::client::HelperClient;
use super::super::privileged::NetworkError;
use super::UserOptions;
use super::record::Namespace;

/// A helper that serves; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Serving {
    /// How it is asked.
    pub(super) client: HelperClient,
    child: Child,
}

impl Serving {
    /// Starts a helper in `namespace`.
    pub(super) fn start(
        options: &UserOptions,
        namespace: &Namespace,
    ) -> Result<Self, NetworkError> {
        let program = || options.helper.display().to_string();
        let failed = |source| NetworkError::Start { program: program(), source };
        let (ours, theirs) = make_sockets().map_err(failed)?;
        let mut command = Command::from(options.command());
        command.arg("serve").args(namespace.render_arguments());
        command.args(["--bridge", namespace.bridge.as_str()]).kill_on_drop(true);
        command.stdin(theirs).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(failed)?;
        let client = HelperClient::new(ours).map_err(failed)?;
        Ok(Self { client, child })
    }

    /// Ends it and waits until it is gone.
    pub(super) async fn end(mut self) {
        let _ = self.child.kill().await;
    }
}

/// The daemon's end, which does not block, and the helper's, which does.
fn make_sockets() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, theirs))
}
