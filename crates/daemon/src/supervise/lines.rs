//! Lines of bounded length from a peer that may send anything.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Reads lines of at most a given number of bytes.
#[derive(Debug)]
pub(crate) struct LineReader<R> {
    inner: R,
    limit: usize,
    buffer: Vec<u8>,
    /// Bytes of `buffer` known to hold no line end.
    searched: usize,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// A reader of lines of at most `limit` bytes.
    pub(crate) fn new(inner: R, limit: usize) -> Self {
        Self { inner, limit, buffer: Vec::new(), searched: 0 }
    }

    /// The next line without its end, or `None` when the peer has finished. An unfinished last
    /// line is no line: its sender was cut off.
    ///
    /// Cancel-safe: what has arrived is kept.
    ///
    /// # Errors
    /// On I/O errors and when a line is longer than the limit.
    pub(crate) async fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(found) = self.buffer[self.searched..].iter().position(|b| *b == b'\n') {
                let rest = self.buffer.split_off(self.searched + found + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.searched > self.limit {
                let error = format!("line longer than {} bytes", self.limit);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            let room = (self.limit + 1 - self.searched).min(4096);
            let mut limited = (&mut self.inner).take(room as u64);
            if limited.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn lines_arrive_whole_and_a_cut_one_not_at_all() {
        let (mut near, far) = tokio::io::duplex(3);
        let mut lines = LineReader::new(far, 8);
        let send = async move {
            near.write_all(b"one\n\ntwo two8\ncut").await.unwrap();
        };
        let receive = async {
            let mut got = Vec::new();
            while let Some(line) = lines.next_line().await.unwrap() {
                got.push(String::from_utf8(line).unwrap());
            }
            got
        };
        assert_eq!(tokio::join!(send, receive).1, ["one", "", "two two8"]);
    }

    #[tokio::test]
    async fn an_endless_line_is_an_error() {
        let mut lines = LineReader::new(tokio::io::repeat(b'x'), 10_000);
        let error = lines.next_line().await.unwrap_err();
        assert_eq!(error.to_string(), "line longer than 10000 bytes");
    }
}
