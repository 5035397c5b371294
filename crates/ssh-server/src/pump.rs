//! Bytes between the stream and the transport's two buffers.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::io::{ReadHalf, WriteHalf};

use crate::transport::Transport;

/// Bytes read at a time.
const READ: usize = 64 << 10;
/// Bytes that may wait for the client before nothing more is read from it: answers to one that
/// asks without end and takes none.
const BACKLOG: usize = 1 << 20;

/// What a pump has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pumped {
    /// Bytes went one way or the other.
    Bytes,
    /// The client sends no more.
    Closed,
}

/// Both halves of the stream.
#[derive(Debug)]
pub(crate) struct Pump<S> {
    from: ReadHalf<S>,
    to: WriteHalf<S>,
    /// Something was written that may not be on its way.
    unflushed: bool,
}

impl<S: AsyncRead + AsyncWrite> Pump<S> {
    pub(crate) fn new(stream: S) -> Self {
        let (from, to) = tokio::io::split(stream);
        Self { from, to, unflushed: false }
    }

    /// Moves some bytes, in whichever direction it is possible first. Cancel-safe.
    pub(crate) async fn pump(&mut self, transport: &mut Transport) -> io::Result<Pumped> {
        let (incoming, outgoing) = transport.buffers();
        let waiting = outgoing.len();
        incoming.reserve(READ);
        let (to, unflushed) = (&mut self.to, &mut self.unflushed);
        let may_write = waiting > 0 || *unflushed;
        let write = async {
            if waiting == 0 {
                to.flush().await?;
                *unflushed = false;
                return Ok(Pumped::Bytes);
            }
            match to.write(outgoing).await? {
                0 => Err(io::ErrorKind::WriteZero.into()),
                length => {
                    outgoing.drain(..length);
                    *unflushed = true;
                    Ok(Pumped::Bytes)
                }
            }
        };
        tokio::select! {
            read = self.from.read_buf(incoming), if waiting < BACKLOG => match read? {
                0 => Ok(Pumped::Closed),
                _ => Ok(Pumped::Bytes),
            },
            written = write, if may_write => written,
        }
    }

    /// Writes what waits, and tells that nothing more will come.
    pub(crate) async fn finish(&mut self, transport: &mut Transport) -> io::Result<()> {
        self.to.write_all(transport.buffers().1).await?;
        self.to.flush().await?;
        self.to.shutdown().await
    }
}
