//! The supervisor's end of the launch channel: its standard input, until the launch is kept.
//!
//! ```text
//!             Running            KEEP
//!  starting ───────────▶ told ───────────▶ kept      (the channel is closed)
//!     │ Ended, Failed      │ channel ends before KEEP
//!     ▼                    ▼
//!   over, nothing left   VMM killed, nothing left
//! ```

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;

use banger_proto::supervisor::{KEEP, LaunchReport};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::stdio::{dup2_stdin, stdin};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// What the daemon decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The VM is the daemon's.
    Kept,
    /// Nobody wants it any more.
    Abandoned,
}

/// The channel.
#[derive(Debug)]
pub(super) struct LaunchChannel {
    /// `None` once the launch is kept: there is nothing left to say.
    stream: Option<UnixStream>,
    received: Vec<u8>,
}

/// Takes the channel from standard input and leaves the null device there.
///
/// # Errors
/// When descriptors cannot be had.
pub(super) fn take_from_stdin() -> io::Result<StdUnixStream> {
    let stream = StdUnixStream::from(stdin().try_clone_to_owned()?);
    stream.set_nonblocking(true)?;
    dup2_stdin(fs_err::File::open("/dev/null")?)?;
    Ok(stream)
}

/// Whether the daemon has let go of `channel` already.
pub(super) fn is_abandoned(channel: &StdUnixStream) -> bool {
    let peeked = recv(channel, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    !matches!(peeked, Ok((1.., _)) | Err(Errno::AGAIN))
}

impl LaunchChannel {
    /// The channel on `stream`.
    ///
    /// # Errors
    /// When it cannot be waited on.
    pub(super) fn new(stream: StdUnixStream) -> io::Result<Self> {
        Ok(Self { stream: Some(UnixStream::from_std(stream)?), received: Vec::new() })
    }

    /// Tells the daemon how the start went. That it is not there to hear it is for
    /// [`verdict`](Self::verdict) to notice.
    pub(super) async fn report(&mut self, report: &LaunchReport) {
        if let (Some(stream), Ok(mut line)) = (&mut self.stream, serde_json::to_vec(report)) {
            line.push(b'\n');
            let _ = stream.write_all(&line).await;
        }
    }

    /// Waits for the daemon's decision. Cancel-safe.
    pub(super) async fn verdict(&mut self) -> Verdict {
        let Some(stream) = &mut self.stream else { return Verdict::Kept };
        while self.received.len() < KEEP.len() {
            match stream.read_buf(&mut self.received).await {
                Ok(0) | Err(_) => return Verdict::Abandoned,
                Ok(_) => {}
            }
        }
        if self.received != KEEP {
            return Verdict::Abandoned;
        }
        self.stream = None;
        Verdict::Kept
    }
}
