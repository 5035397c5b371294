//! Decompressing on a thread of its own, beside the one that writes files: each of the two is about
//! as much work as the other, and a guest with two processors has both done at once.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Bytes that are passed on at once.
const PIECE: usize = 64 << 10;
/// Pieces that wait to be taken.
const QUEUE: usize = 8;

/// The plain bytes of a stream that is compressed with zstd. Reading fails where decompressing did.
#[derive(Debug)]
pub(super) struct Decoded {
    /// An empty piece is the end.
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    taken: usize,
    ended: bool,
}

impl Decoded {
    /// Starts decompressing `stream`; it stops when this is dropped.
    ///
    /// # Errors
    /// When there is no thread or no memory for it.
    pub(super) fn start(stream: impl Read + Send + 'static) -> io::Result<Self> {
        let mut plain = zstd::stream::read::Decoder::new(stream)?;
        let (sender, pieces) = sync_channel(QUEUE);
        let work = move || decode(&mut plain, &sender);
        thread::Builder::new().name("decode".to_owned()).spawn(work)?;
        Ok(Self { pieces, piece: Vec::new(), taken: 0, ended: false })
    }
}

fn decode(plain: &mut impl Read, sender: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let read = plain.by_ref().take(PIECE as u64).read_to_end(&mut piece);
        // What came before a failure is good.
        if !piece.is_empty() && sender.send(Ok(piece)).is_err() {
            return;
        }
        if !matches!(read, Ok(1..)) {
            let _ = sender.send(read.map(|_| Vec::new()));
            return;
        }
    }
}

impl Read for Decoded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.piece.len() {
            if self.ended {
                return Ok(0);
            }
            let lost = |_| io::Error::other("decompressing the archive panicked");
            self.piece = self.pieces.recv().map_err(lost)??;
            self.taken = 0;
            self.ended = self.piece.is_empty();
        }
        let rest = &self.piece[self.taken..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.taken += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.include_checksum(true).unwrap();
        io::copy(&mut &*bytes, &mut encoder).unwrap();
        encoder.finish().unwrap()
    }

    fn decoded(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        Decoded::start(io::Cursor::new(bytes))?.read_to_end(&mut plain).map(|_| plain)
    }

    #[test]
    fn what_was_compressed_comes_out() {
        for length in [0, 1, PIECE - 1, PIECE, 3 * QUEUE * PIECE + 7] {
            let bytes: Vec<_> = (0..length).map(|number| (number % 251) as u8).collect();
            assert_eq!(decoded(compressed(&bytes)).unwrap(), bytes, "{length}");
        }
    }

    #[test]
    fn what_is_damaged_or_cut_fails_after_what_came_before() {
        let whole = compressed(&vec![7; 2 * PIECE + 1]);
        let mut damaged = whole.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert!(decoded(damaged).is_err(), "the checksum is at the end");
        let cut = whole[..whole.len() - 1].to_vec();
        let mut plain = Decoded::start(io::Cursor::new(cut)).unwrap();
        plain.read_exact(&mut vec![0; 2 * PIECE + 1]).unwrap();
        assert!(plain.read(&mut [0]).is_err());
        assert!(decoded(b"not zstd".to_vec()).is_err());
    }

    #[test]
    fn it_stops_when_nobody_reads() {
        /// One frame after the other.
        struct Endless {
            frame: Vec<u8>,
            at: usize,
            /// Dropped with the stream, by the thread as it ends.
            _alive: SyncSender<()>,
        }
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let mut rest = &self.frame[self.at..];
                let count = rest.read(buffer)?;
                self.at = (self.at + count) % self.frame.len();
                Ok(count)
            }
        }
        let (alive, ended) = sync_channel(0);
        let endless = Endless { frame: compressed(b"again"), at: 0, _alive: alive };
        let mut plain = zstd::stream::read::Decoder::new(endless).unwrap();
        let (sender, pieces) = sync_channel(QUEUE);
        drop(pieces);
        let work = thread::spawn(move || decode(&mut plain, &sender));
        assert!(ended.recv().is_err());
        work.join().unwrap();
    }
}
