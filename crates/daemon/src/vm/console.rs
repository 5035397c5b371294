//! The console log of a VM: its tail for errors, its bytes for who follows it.
//!
//! The supervisor writes the log and rotates it; this module only reads. What a guest writes is
//! hostile: in errors, control characters are shown instead of sent to the user's terminal.

use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use banger_proto::harmless;
use bytes::Bytes;
use fs_err::File;
use rustix::fs::inotify;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};

use super::desk::Shown;

/// Bytes at the end of a log among which the last lines are looked for.
const TAIL_BYTES: u64 = 16 << 10;
/// Longest line in an error, in characters.
const MAX_LINE: usize = 200;
/// Bytes that are read and sent at once.
const CHUNK: usize = 32 << 10;
/// Chunks that wait for a slow reader.
const CHUNKS_AHEAD: usize = 4;

/// The last `lines` lines of a log that are not empty, harmless for a terminal. An unreadable
/// log has none: the error that wants them has something else to tell.
pub(crate) fn load_tail(path: &Path, lines: usize) -> Vec<String> {
    let load = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(TAIL_BYTES);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    render_tail(&load().unwrap_or_default(), lines)
}

fn render_tail(bytes: &[u8], lines: usize) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut tail: Vec<_> = text.lines().map(render_short).filter(|line| !line.is_empty()).collect();
    tail.drain(..tail.len().saturating_sub(lines));
    tail
}

/// Text of a guest as one short line that does nothing to a terminal.
pub(crate) fn render_short(text: &str) -> String {
    let line: String = harmless::render_line(text.trim_end()).chars().take(MAX_LINE).collect();
    line.trim_end().to_owned()
}

/// Reads a log: all of it or its last `tail` lines, then, if asked, what is written to it until
/// its VM is down. A log that does not exist is an empty one.
///
/// Reading stops when the receiver is dropped.
pub(crate) fn stream(
    log: PathBuf,
    tail: Option<usize>,
    follow: Option<watch::Receiver<Shown>>,
) -> mpsc::Receiver<std::io::Result<Bytes>> {
    let (chunks, receiver) = mpsc::channel(CHUNKS_AHEAD);
    tokio::spawn(async move {
        if let Err(error) = pump(&log, tail, follow, &chunks).await {
            // Nobody listens any more, or is told why there is nothing more to hear.
            let _ = chunks.send(Err(error)).await;
        }
    });
    receiver
}

async fn pump(
    log: &Path,
    tail: Option<usize>,
    follow: Option<watch::Receiver<Shown>>,
    chunks: &mpsc::Sender<std::io::Result<Bytes>>,
) -> std::io::Result<()> {
    let Some(mut shown) = follow else {
        return Reader::open(log, tail)?.drain(chunks).await.map(drop);
    };
    // Watched before it is read: what is written in between is announced.
    let mut changes = Changes::watch(log.parent().unwrap_or(log))?;
    let mut reader = Reader::open(log, tail)?;
    loop {
        let ended = !shown.borrow_and_update().record.state.has_vmm();
        if !reader.drain(chunks).await? || ended {
            return Ok(());
        }
        tokio::select! {
            changed = changes.next() => changed?,
            // The VM is deleted: its driver is gone.
            changed = shown.changed() => if changed.is_err() { return Ok(()) },
            () = chunks.closed() => return Ok(()),
        }
    }
}

/// A position in a log that may be rotated away.
struct Reader {
    path: PathBuf,
    file: Option<File>,
}

impl Reader {
    fn open(path: &Path, tail: Option<usize>) -> std::io::Result<Self> {
        let mut reader = Self { path: path.to_owned(), file: open_if_there(path)? };
        if let (Some(file), Some(lines)) = (&mut reader.file, tail) {
            seek_to_tail(file, lines)?;
        }
        Ok(reader)
    }

    /// Sends what there is; false when nobody wants it any more.
    async fn drain(
        &mut self,
        chunks: &mpsc::Sender<std::io::Result<Bytes>>,
    ) -> std::io::Result<bool> {
        loop {
            if let Some(file) = &mut self.file {
                let mut buffer = vec![0; CHUNK];
                let read = file.read(&mut buffer)?;
                if read > 0 {
                    buffer.truncate(read);
                    if chunks.send(Ok(buffer.into())).await.is_err() {
                        return Ok(false);
                    }
                    continue;
                }
            }
            // At the end: go on with the file that replaced this one, if one did.
            let Some(next) = open_if_there(&self.path)? else { return Ok(true) };
            if let Some(file) = &self.file
                && file.metadata()?.ino() == next.metadata()?.ino()
            {
                return Ok(true);
            }
            self.file = Some(next);
        }
    }
}

fn open_if_there(path: &Path) -> std::io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts the position before the last `lines` lines, reading from the end.
fn seek_to_tail(file: &mut File, lines: usize) -> std::io::Result<()> {
    let end = file.metadata()?.len();
    let mut start = end;
    let mut newlines = 0;
    let mut block = Vec::new();
    while start > 0 {
        let from = start.saturating_sub(CHUNK as u64);
        file.seek(SeekFrom::Start(from))?;
        block.clear();
        file.by_ref().take(start - from).read_to_end(&mut block)?;
        for (index, byte) in block.iter().enumerate().rev() {
            let position = from + index as u64;
            // The newline at the very end closes the last line, it begins none.
            if *byte == b'\n' && position + 1 != end {
                newlines += 1;
                if newlines == lines {
                    return file.seek(SeekFrom::Start(position + 1)).map(drop);
                }
            }
        }
        start = from;
    }
    file.seek(SeekFrom::Start(if lines == 0 { end } else { 0 })).map(drop)
}

/// Tells that something in a directory was written, made or renamed.
struct Changes {
    /// The inotify descriptor. It is read like a pipe, and tokio reads pipes without `unsafe`.
    inotify: pipe::Receiver,
}

impl Changes {
    fn watch(dir: &Path) -> std::io::Result<Self> {
        use inotify::{CreateFlags, WatchFlags};
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let events = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        inotify::add_watch(&fd, dir, events)?;
        Ok(Self { inotify: pipe::Receiver::from_owned_fd_unchecked(fd)? })
    }

    /// Waits for the next change; many at once count as one. Cancel-safe.
    async fn next(&mut self) -> std::io::Result<()> {
        // What changed does not matter: the reader looks for itself.
        self.inotify.read(&mut [0; 4096]).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_does_nothing_to_a_terminal() {
        let log = b"old\n\x1b[0;32mOK\x1b[0m started\r\n\n\x1b]0;title\x07evil\n\xff\xfe\ttabs\n\
            rtl \xe2\x80\xae txt\nKernel panic";
        assert_eq!(
            render_tail(log, 5),
            ["OK started", "evil", "\u{fffd}\u{fffd} tabs", "rtl \u{fffd} txt", "Kernel panic",]
        );
        assert_eq!(render_short(&"x".repeat(5000)).len(), MAX_LINE);
        assert!(load_tail(Path::new("/does/not/exist"), 3).is_empty());
    }

    async fn collect(mut chunks: mpsc::Receiver<std::io::Result<Bytes>>) -> String {
        let mut text = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            text.extend_from_slice(&chunk.unwrap());
        }
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn the_last_lines_are_counted_from_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("console.log");
        let read = |tail| collect(stream(log.clone(), tail, None));
        assert_eq!(read(None).await, "");
        fs_err::write(&log, "one\ntwo\nthree\n").unwrap();
        assert_eq!(read(None).await, "one\ntwo\nthree\n");
        assert_eq!(read(Some(2)).await, "two\nthree\n");
        assert_eq!(read(Some(9)).await, "one\ntwo\nthree\n");
        assert_eq!(read(Some(0)).await, "");
        let long = format!("{}\nlast", "x".repeat(3 * CHUNK));
        fs_err::write(&log, &long).unwrap();
        assert_eq!(read(Some(1)).await, "last");
        assert_eq!(read(Some(2)).await, long);
    }
}
