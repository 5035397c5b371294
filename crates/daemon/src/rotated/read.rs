//! Reading a log of bounded size: both its files, and what is added to them meanwhile.

use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fs_err::File;
use futures_util::future::BoxFuture;
use rustix::fs::inotify;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::older;

/// Bytes that are read and sent at once.
const CHUNK: usize = 32 << 10;
/// Chunks that wait for a slow reader.
const CHUNKS_AHEAD: usize = 4;

/// What a log is read with: chunks, and why there are no more.
pub type Chunks = mpsc::Receiver<io::Result<Bytes>>;

/// Reads a log: all of it or its last `tail` lines, then, if asked, what is written to it until
/// `until` is over. A log that does not exist is an empty one, but its directory must exist to
/// be followed.
///
/// Reading stops when the receiver is dropped.
#[must_use]
pub fn stream(log: PathBuf, tail: Option<usize>, until: Option<BoxFuture<'static, ()>>) -> Chunks {
    let (chunks, receiver) = mpsc::channel(CHUNKS_AHEAD);
    tokio::spawn(async move {
        if let Err(error) = pump(&log, tail, until, &chunks).await {
            // Nobody listens any more, or is told why there is nothing more to hear.
            let _ = chunks.send(Err(error)).await;
        }
    });
    receiver
}

/// The last bytes of a log, `limit` at most.
///
/// # Errors
/// When there is no such file, or it cannot be read.
pub(crate) fn load_end(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let newest = read_end(&mut File::open(path)?, limit)?;
    let missing = limit - newest.len() as u64;
    let Some(mut older) = open_if_there(&older(path))? else { return Ok(newest) };
    let mut bytes = read_end(&mut older, missing)?;
    bytes.extend_from_slice(&newest);
    Ok(bytes)
}

fn read_end(file: &mut File, limit: u64) -> io::Result<Vec<u8>> {
    let start = file.metadata()?.len().saturating_sub(limit);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

async fn pump(
    log: &Path,
    tail: Option<usize>,
    until: Option<BoxFuture<'static, ()>>,
    chunks: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let Some(mut until) = until else {
        return Reader::open(log, tail)?.drain(chunks).await.map(drop);
    };
    // Watched before it is read: what is written in between is announced.
    let mut changes = Changes::watch(log.parent().unwrap_or(log))?;
    let mut reader = Reader::open(log, tail)?;
    while reader.drain(chunks).await? {
        tokio::select! {
            changed = changes.next() => changed?,
            // What was written last is there by now.
            () = &mut until => return reader.drain(chunks).await.map(drop),
            () = chunks.closed() => return Ok(()),
        }
    }
    Ok(())
}

/// A position in a log that may be rotated away.
struct Reader {
    path: PathBuf,
    /// The older file, as long as it is not read.
    before: Option<File>,
    file: Option<File>,
}

impl Reader {
    fn open(path: &Path, tail: Option<usize>) -> io::Result<Self> {
        // The newer one first: if it is renamed in between, it is opened twice and not missed.
        let mut file = open_if_there(path)?;
        let mut before = open_if_there(&older(path))?;
        if let (Some(file), Some(older)) = (&file, &before)
            && is_same(file, older)?
        {
            before = None;
        }
        if let Some(mut lines) = tail {
            // The last byte closes the last line, it begins none.
            let mut closing = true;
            for open in [&mut file, &mut before].into_iter().flatten() {
                seek_back(open, &mut lines, &mut closing)?;
            }
        }
        Ok(Self { path: path.to_owned(), before, file })
    }

    /// Sends what there is; false when nobody wants it any more.
    async fn drain(&mut self, chunks: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<bool> {
        if let Some(mut before) = self.before.take()
            && !send_rest(&mut before, chunks).await?
        {
            return Ok(false);
        }
        loop {
            if let Some(file) = &mut self.file
                && !send_rest(file, chunks).await?
            {
                return Ok(false);
            }
            // At the end: go on with the file that replaced this one, if one did.
            let Some(next) = open_if_there(&self.path)? else { return Ok(true) };
            if let Some(file) = &mut self.file {
                if is_same(file, &next)? {
                    if file.stream_position()? <= file.metadata()?.len() {
                        return Ok(true);
                    }
                    // Somebody emptied it.
                    file.rewind()?;
                    continue;
                }
                // What was written between its end and its renaming.
                if !send_rest(file, chunks).await? {
                    return Ok(false);
                }
            }
            self.file = Some(next);
        }
    }
}

/// Sends what is left of a file; false when nobody wants it any more.
async fn send_rest(file: &mut File, chunks: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<bool> {
    loop {
        let mut buffer = vec![0; CHUNK];
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(true);
        }
        buffer.truncate(read);
        if chunks.send(Ok(buffer.into())).await.is_err() {
            return Ok(false);
        }
    }
}

fn is_same(one: &File, other: &File) -> io::Result<bool> {
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts the position before the last `lines` lines of a file, reading from its end, and takes
/// those it found off the number: what is left is to be found in the file before it.
fn seek_back(file: &mut File, lines: &mut usize, closing: &mut bool) -> io::Result<()> {
    let end = file.metadata()?.len();
    let mut start = end;
    let mut block = Vec::new();
    while start > 0 && *lines > 0 {
        let from = start.saturating_sub(CHUNK as u64);
        file.seek(SeekFrom::Start(from))?;
        block.clear();
        file.by_ref().take(start - from).read_to_end(&mut block)?;
        for (index, byte) in block.iter().enumerate().rev() {
            let closes = std::mem::take(closing);
            if *byte == b'\n' && !closes {
                *lines -= 1;
                if *lines == 0 {
                    return file.seek(SeekFrom::Start(from + index as u64 + 1)).map(drop);
                }
            }
        }
        start = from;
    }
    file.seek(SeekFrom::Start(start)).map(drop)
}

/// Tells that something in a directory was written, made or renamed.
struct Changes {
    /// The inotify descriptor. It is read like a pipe, and tokio reads pipes without `unsafe`.
    inotify: pipe::Receiver,
}

impl Changes {
    fn watch(dir: &Path) -> io::Result<Self> {
        use inotify::{CreateFlags, WatchFlags};
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let events = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        inotify::add_watch(&fd, dir, events)?;
        Ok(Self { inotify: pipe::Receiver::from_owned_fd_unchecked(fd)? })
    }

    /// Waits for the next change; many at once count as one. Cancel-safe.
    async fn next(&mut self) -> io::Result<()> {
        // What changed does not matter: the reader looks for itself.
        self.inotify.read(&mut [0; 4096]).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::super::RotatedFile;
    use super::*;

    async fn within<F: Future>(work: F) -> F::Output {
        tokio::time::timeout(std::time::Duration::from_secs(30), work).await.unwrap()
    }

    async fn collect(mut chunks: Chunks) -> String {
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

    #[tokio::test]
    async fn two_files_are_one_text() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("a.log");
        let whole = "a\nbb\nccc\ndddd\n";
        // Rotated anywhere, also within a line and just now.
        for cut in 0..=whole.len() {
            fs_err::write(older(&log), &whole[..cut]).unwrap();
            fs_err::write(&log, &whole[cut..]).unwrap();
            for lines in 0..6 {
                let skipped: String =
                    whole.split_inclusive('\n').skip(4usize.saturating_sub(lines)).collect();
                let got = collect(stream(log.clone(), Some(lines), None)).await;
                assert_eq!(got, skipped, "{lines} lines, cut at {cut}");
            }
            assert_eq!(collect(stream(log.clone(), None, None)).await, whole);
            assert_eq!(load_end(&log, 7).unwrap(), b"c\ndddd\n", "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn nothing_is_missed_while_it_rotates() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut log = RotatedFile::new(&path, 64 << 10);
        log.append(b"before\n").unwrap();
        let (over, end) = tokio::sync::oneshot::channel::<()>();
        let mut chunks = stream(path.clone(), Some(1), Some(end.map(drop).boxed()));
        // What it begins with shows that it has begun.
        let mut got = within(chunks.recv()).await.unwrap().unwrap().to_vec();
        let mut expected = "before\n".to_owned();
        for line in 0..20_000 {
            let text = format!("line {line}\n");
            log.append(text.as_bytes()).unwrap();
            expected.push_str(&text);
            // The reader may be as late as one file is long.
            if line % 4000 == 3999 {
                while got.len() < expected.len() {
                    got.extend_from_slice(&within(chunks.recv()).await.unwrap().unwrap());
                }
            }
        }
        fs_err::write(&path, "").unwrap();
        fs_err::write(&path, "anew\n").unwrap();
        over.send(()).unwrap();
        got.extend_from_slice(within(collect(chunks)).await.as_bytes());
        assert!(got == (expected + "anew\n").into_bytes(), "{}", got.len());
    }
}
