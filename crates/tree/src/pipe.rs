//! Bytes between a thread that blocks and a task that must not: a bounded queue of pieces whose
//! end is announced, so that an end that is not is told from one that is.

use std::io::{self, Read, Write};

use bytes::Bytes;
use tokio::sync::mpsc;

/// Pieces that wait in the queue, normally of 64 KiB each.
const QUEUE: usize = 8;

/// What the queue carries.
#[derive(Debug)]
pub enum Piece {
    /// Some bytes.
    Bytes(Bytes),
    /// All were sent.
    End,
}

/// A queue and its two ends.
#[must_use]
pub fn pipe() -> (Inlet, Outlet) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Inlet(sender), Outlet { queue: receiver, piece: Bytes::new(), ended: false })
}

/// Where bytes go in: [`Write`] for a thread, [`send`](Self::send) for a task.
#[derive(Debug)]
pub struct Inlet(mpsc::Sender<Piece>);

impl Inlet {
    /// Sends a piece, once there is room. Tells whether anybody still takes it.
    pub async fn send(&self, piece: Piece) -> bool {
        self.0.send(piece).await.is_ok()
    }

    /// Announces the end, from a thread. Tells whether anybody still takes it.
    #[must_use]
    pub fn end(self) -> bool {
        self.0.blocking_send(Piece::End).is_ok()
    }
}

impl Write for Inlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Piece::Bytes(Bytes::copy_from_slice(bytes));
        let sent = self.0.blocking_send(piece);
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where bytes come out: [`Read`] for a thread, [`next`](Self::next) for a task.
#[derive(Debug)]
pub struct Outlet {
    queue: mpsc::Receiver<Piece>,
    piece: Bytes,
    ended: bool,
}

impl Outlet {
    /// The next piece; none when the other end has gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Piece> {
        self.queue.recv().await
    }
}

/// An end that was not announced is an error.
impl Read for Outlet {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            if self.ended {
                return Ok(0);
            }
            match self.queue.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.piece = bytes,
                Some(Piece::End) => self.ended = true,
                None => {
                    let text = "the transfer was broken off";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
                }
            }
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_announced_or_an_error() {
        let (mut inlet, mut outlet) = pipe();
        inlet.write_all(b"all").unwrap();
        inlet.write_all(b"").unwrap();
        assert!(inlet.end());
        let mut text = String::new();
        outlet.read_to_string(&mut text).unwrap();
        assert_eq!(text, "all");

        let (mut inlet, mut outlet) = pipe();
        inlet.write_all(b"some").unwrap();
        drop(inlet);
        let error = outlet.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn nobody_writes_to_nobody() {
        let (mut inlet, outlet) = pipe();
        drop(outlet);
        assert_eq!(inlet.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(!inlet.end());
    }
}
