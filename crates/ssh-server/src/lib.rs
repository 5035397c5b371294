//! An SSH server on one byte stream, for guests whose image has none.
//!
//! ```text
//!   stream ─ pump ─ transport (cipher, kex) ─ login (auth, key) ─ connection ─┬─ Session → caller
//!                                                                 channels   ├─ ssh -L, ssh -R
//!                                                                            └─ …
//!   sftp: the file server, for whatever process the caller runs it in
//! ```
//!
//! It exists so that `ssh`, `scp`, `sftp`, `rsync`, `git` and editors work with every image. It
//! guards nothing: the stream comes from the one who owns the guest, over the guest link, and may
//! run any command as root there anyway. What it does, it does as OpenSSH would: public keys only,
//! one modern algorithm for each purpose, and refusals of everything else.
//!
//! Users and processes are the caller's: it gets a [`Session`] for each command and says how it
//! ended. Port forwarding happens here. Not served: passwords, agents, X11, sockets by path.

mod auth;
mod channel;
mod cipher;
mod connection;
mod inbox;
mod kex;
mod key;
mod message;
mod outlet;
mod pump;
mod session;
pub mod sftp;
mod transport;
mod wire;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout, timeout_at};

pub use connection::WINDOW;
pub use inbox::{Input, Inputs, TerminalSize};
pub use key::{AuthorizedKeys, HostKey, HostKeyError};
pub use outlet::{Gone, Outputs, Stream};
pub use session::{Command, Exit, Session};

use auth::Login;
use connection::Connection;
use pump::{Pump, Pumped};
use transport::{Transport, TransportError};

/// How long a client that is told goodbye is waited for.
const FAREWELL: Duration = Duration::from_secs(2);

/// Who is served, and as whom.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server's identity.
    pub host_key: Arc<HostKey>,
    /// Names that may be logged in with.
    pub users: Vec<String>,
    /// Keys that may log in.
    pub authorized_keys: AuthorizedKeys,
    /// How long a client has for logging in.
    pub login_time: Duration,
}

/// How a connection came to an end that nobody is to blame for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The client said goodbye.
    Disconnected,
    /// The stream ended.
    Closed,
}

/// Why a connection was given up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream failed.
    #[error("the client's stream failed")]
    Stream(#[from] io::Error),
    /// The client did what the protocol does not allow, or nothing that can be agreed on.
    #[error("the client was disconnected: {message}")]
    Protocol {
        /// What it was told, where it could be told anything (RFC 4253 §11.1).
        reason: Option<u32>,
        /// The same in words.
        message: String,
    },
    /// Nobody logged in in time.
    #[error("nobody logged in within {0:?}")]
    LoginTime(Duration),
}

impl From<TransportError> for Error {
    fn from(error: TransportError) -> Self {
        Self::Protocol { reason: error.reason(), message: error.to_string() }
    }
}

/// Serves the client at the other end of `stream` until it is gone and everything that it
/// started has ended. `sessions` runs one command to its end.
///
/// # Errors
/// When the client or the stream misbehaves; commands have been hung up and have ended by then.
pub async fn serve<S, F, Fut>(stream: S, config: &Config, sessions: F) -> Result<Ending, Error>
where
    S: AsyncRead + AsyncWrite + Send,
    F: Fn(Session) -> Fut + Send,
    Fut: Future<Output = Exit> + Send + 'static,
{
    let mut pump = Pump::new(stream);
    let mut transport = Transport::new(Arc::clone(&config.host_key))?;
    let deadline = Instant::now() + config.login_time;
    let login = log_in(&mut transport, &mut pump, config);
    let ending = match timeout_at(deadline, login).await {
        Ok(Ok(Some(user))) => Connection::serve(user, &mut transport, &mut pump, sessions).await,
        Ok(Ok(None)) => Ok(Ending::Closed),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Error::LoginTime(config.login_time)),
    };
    if let Err(Error::Protocol { reason: Some(reason), message }) = &ending {
        transport.disconnect(*reason, message);
    }
    // Neither a client that does not listen nor one that is gone changes how it ended.
    let _ = timeout(FAREWELL, pump.finish(&mut transport)).await;
    ending
}

/// The user who logged in; none when the client left before.
async fn log_in<S: AsyncRead + AsyncWrite>(
    transport: &mut Transport,
    pump: &mut Pump<S>,
    config: &Config,
) -> Result<Option<String>, Error> {
    let mut login = Login::new(&config.users, &config.authorized_keys);
    loop {
        while let Some(payload) = transport.next()? {
            if let Some(user) = login.take(&payload, transport)? {
                return Ok(Some(user));
            }
        }
        if transport.is_over() || pump.pump(transport).await? == Pumped::Closed {
            return Ok(None);
        }
    }
}
