//! The daemon's socket: private from birth, gone with the daemon; or the service manager's, which has it
//! before a daemon starts and after it has ended.

use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with, sockopt,
};
use rustix::stdio::{dup2_stdin, stdin};
use tokio::net::UnixListener;

/// Connections that wait to be accepted; the kernel may allow fewer (`net.core.somaxconn`). One that
/// finds the queue full is refused at once.
const BACKLOG: i32 = 4096;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else answers on it.
    #[error("another daemon answers on `{0}`")]
    InUse(PathBuf),
    /// The one that was handed over cannot be used.
    #[error("cannot listen on the socket that is standard input")]
    Inherited(#[source] std::io::Error),
    /// It cannot be made.
    #[error("cannot listen on `{path}`")]
    Bind {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    bound: Option<Bound>,
}

/// The socket's name; removed when dropped.
#[derive(Debug)]
pub struct Bound {
    path: PathBuf,
}

impl Listener {
    /// Binds `path`, replacing what a daemon that was killed left there. The caller has the
    /// state directory's lock and a private directory around `path`.
    ///
    /// # Errors
    /// When somebody answers there, or the socket cannot be made.
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Bind { path: path.to_owned(), source };
        // The lock is about the state directory; a daemon with another one may be here.
        if UnixStream::connect(path).is_ok() {
            return Err(ListenError::InUse(path.to_owned()));
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            _ => {}
        }
        let socket = bind_private(path).and_then(UnixListener::from_std).map_err(failed)?;
        Ok(Self { socket, bound: Some(Bound { path: path.to_owned() }) })
    }

    /// A socket whose name is somebody else's, who keeps it.
    ///
    /// # Errors
    /// When it cannot be waited on.
    pub fn inherited(socket: StdUnixListener) -> Result<Self, ListenError> {
        let socket = UnixListener::from_std(socket).map_err(ListenError::Inherited)?;
        Ok(Self { socket, bound: None })
    }

    /// The socket, and what has to be dropped when nobody listens any more.
    #[must_use]
    pub fn into_parts(self) -> (UnixListener, Option<Bound>) {
        (self.socket, self.bound)
    }
}

/// Takes the socket that a service manager has handed over as standard input, if that is a unix socket
/// that listens. Standard input is the null device then.
///
/// # Errors
/// When it cannot be used.
pub(super) fn take_inherited() -> Result<Option<StdUnixListener>, ListenError> {
    let input = stdin();
    let unix = sockopt::socket_domain(input).is_ok_and(|domain| domain == AddressFamily::UNIX);
    let stream = sockopt::socket_type(input).is_ok_and(|kind| kind == SocketType::STREAM);
    let listens = sockopt::socket_acceptconn(input).is_ok_and(|listens| listens);
    if !(unix && stream && listens) {
        return Ok(None);
    }
    let take = || {
        let socket = fcntl_dupfd_cloexec(input, 0)?;
        dup2_stdin(std::fs::File::open("/dev/null")?)?;
        // Once more: from now on whoever connects sees this process's user at the other end.
        listen(&socket, BACKLOG)?;
        let socket = StdUnixListener::from(socket);
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    take().map(Some).map_err(ListenError::Inherited)
}

/// Binds a socket of mode 0600. The mode is set on the nameless socket, and `bind` gives it to
/// the name it makes (unix(7)): nobody ever sees it with another one, whatever the umask.
fn bind_private(path: &Path) -> std::io::Result<StdUnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

impl Drop for Bound {
    fn drop(&mut self) {
        // A name that cannot be removed is replaced by the next daemon.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_private_name_that_goes_with_its_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bangerd.sock");
        // What a killed daemon leaves: a name on which nobody listens.
        drop(StdUnixListener::bind(&path).unwrap());
        let listener = Listener::bind(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Listener::bind(&path), Err(ListenError::InUse(_))));
        drop(listener);
        assert!(!path.exists());
    }
}
