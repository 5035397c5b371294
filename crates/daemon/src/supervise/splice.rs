//! The link socket's clients: each connection is one stream to the agent, byte for byte.

use std::convert::Infallible;
use std::io;

use rustix::process::geteuid;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, Interest, Ready};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::accept::{Door, serve_each};
use super::link::{Sessions, open_stream};
use super::recorder::Recorder;
use super::sys::wait_on;

/// Connections served at once; more wait in the socket's queue. Below the 256 streams that a
/// session of the link may have, and, at two descriptors each, below the usual 1024.
const MAX_STREAMS: usize = 200;
/// Bytes copied at once, in each direction.
const COPY_BUFFER: usize = 16 << 10;

/// Serves `listener` for as long as it is polled, never ending by itself; the connections live
/// on in `connections`.
pub(super) async fn serve(
    listener: UnixListener,
    sessions: Sessions,
    connections: &mut JoinSet<()>,
    recorder: Recorder,
) -> Infallible {
    let owner = geteuid().as_raw();
    let door = Door { listener, name: "link", places: MAX_STREAMS, owner };
    serve_each(door, connections, recorder, |client| {
        let mut sessions = sessions.clone();
        async move { serve_client(client, &mut sessions).await }
    })
    .await
}

async fn serve_client(client: UnixStream, sessions: &mut Sessions) -> io::Result<()> {
    let gone = HangUp::of(&client)?;
    let stream = tokio::select! {
        stream = open_stream(sessions) => stream,
        () = gone.wait() => None,
    };
    match stream {
        Some(stream) => splice(client, stream, &gone).await,
        None => Ok(()),
    }
}

/// Copies both ways until both sides have finished or one is gone. Each end of input is passed
/// on alone, so that a half-closed stream stays one. Returning drops both streams: what had not
/// finished by then is reset.
async fn splice<S>(client: UnixStream, stream: S, gone: &HangUp) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (client_reader, client_writer) = client.into_split();
    let (stream_reader, stream_writer) = tokio::io::split(stream);
    let to_guest = copy(client_reader, stream_writer);
    let from_guest = async {
        tokio::select! {
            copied = copy(stream_reader, client_writer) => copied,
            // A client that has shut down its sending side still listens; one that has closed
            // its socket does not, and an agent that sends nothing would never make us notice.
            () = gone.wait() => Err(io::ErrorKind::BrokenPipe.into()),
        }
    };
    tokio::try_join!(to_guest, from_guest).map(|((), ())| ())
}

async fn copy<R, W>(reader: R, mut writer: W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut reader = tokio::io::BufReader::with_capacity(COPY_BUFFER, reader);
    tokio::io::copy_buf(&mut reader, &mut writer).await?;
    writer.shutdown().await
}

/// Notices that the peer of a socket has closed it altogether, which ending its output alone
/// does not mean.
struct HangUp(AsyncFd<std::os::fd::OwnedFd>);

impl HangUp {
    fn of(socket: &UnixStream) -> io::Result<Self> {
        let descriptor = rustix::io::fcntl_dupfd_cloexec(socket, 0)?;
        // Writability is asked for because a hang-up belongs to that side.
        Ok(Self(wait_on(descriptor, Interest::WRITABLE)?))
    }

    async fn wait(&self) {
        while let Ok(mut guard) = self.0.ready(Interest::WRITABLE).await {
            if guard.ready().is_write_closed() {
                return;
            }
            guard.clear_ready_matching(Ready::WRITABLE);
        }
    }
}
