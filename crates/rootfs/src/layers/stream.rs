//! The uncompressed bytes of a layer, decompressed by a thread of its own, ahead of who reads
//! them.
//!
//! ```text
//!  file ─▶ decompression ─▶ │ at most two chunks │ ─▶ SHA-256, limit, progress ─▶ reader
//!          thread           └──── empty ones ◀───┘                     caller's thread
//! ```

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use banger_proto::ByteSize;
use sha2::{Digest, Sha256};

use super::{ImageError, Layer, LayerError, Phase, Step};
use crate::stream::{open, recognise};

/// Bytes of uncompressed data handed over at once.
const CHUNK: usize = 256 << 10;
/// Chunks that wait to be read at most.
const AHEAD: usize = 2;
/// Bytes read from the file at once.
const BUFFER: usize = 128 << 10;
/// A layer's file, open, so that both readings are of the same file.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) layer: Layer,
    file: Arc<File>,
    start: u64,
    end: u64,
    stamp: Stamp,
}

/// What changes when a file is written to.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Ok(Self { size: metadata.len(), modified })
    }
}

impl Source {
    pub(super) fn open(layer: &Layer) -> Result<Self, ImageError> {
        let file = fs_err::File::open(&layer.path)?.into_parts().0;
        let stamp = Stamp::of(&file)?;
        let (start, end) =
            layer.range.as_ref().map_or((0, stamp.size), |range| (range.start, range.end));
        if end > stamp.size || start > end {
            let source = LayerError::Range { size: stamp.size, end };
            return Err(ImageError::Layer { layer: layer.name.clone(), source });
        }
        Ok(Self { layer: layer.clone(), file: Arc::new(file), start, end, stamp })
    }

    /// Bytes as they are stored.
    pub(super) fn len(&self) -> u64 {
        self.end - self.start
    }

    pub(super) fn error(&self, source: impl Into<LayerError>) -> ImageError {
        ImageError::Layer { layer: self.layer.name.clone(), source: source.into() }
    }

    pub(super) fn check_unchanged(&self) -> Result<(), ImageError> {
        if Stamp::of(&self.file)? == self.stamp {
            return Ok(());
        }
        Err(self.error(LayerError::Changed))
    }

    /// Starts decompressing from the beginning.
    pub(super) fn stream<'a, 'w>(
        &self,
        limit: u64,
        hash: bool,
        watch: &'a mut Watch<'w>,
    ) -> Result<Stream<'a, 'w>, ImageError> {
        let done = Arc::new(AtomicU64::new(0));
        let (at, end) = (self.start, self.end);
        let part = FilePart { file: Arc::clone(&self.file), at, end, done: Arc::clone(&done) };
        let mut part = BufReader::with_capacity(BUFFER, part);
        let compression = recognise(&mut part)
            .map_err(|source| self.error(crate::archive::ArchiveError::Read { at: 0, source }))?;
        let decoder = match open(compression, part) {
            Some(decoder) => decoder?,
            None => {
                let unknown = compression.map(LayerError::Compression);
                return Err(self.error(unknown.unwrap_or(LayerError::Changed)));
            }
        };
        let (full, chunks) = sync_channel(AHEAD);
        let (empty, recycled) = channel();
        std::thread::Builder::new()
            .name("decompress".to_owned())
            .spawn(move || decompress(decoder, &full, &recycled))?;
        Ok(Stream {
            chunks,
            empty,
            chunk: Vec::new(),
            at: 0,
            finished: false,
            hasher: hash.then(Sha256::new),
            seen: 0,
            limit,
            done,
            watch,
        })
    }
}

/// Who wants to know how far the work is, and can end it.
pub(super) struct Watch<'w> {
    watch: &'w dyn Fn(Step) -> ControlFlow<()>,
    phase: Phase,
    total: u64,
    /// Bytes of the layers before the one that is being read.
    before: u64,
    pub(super) cancelled: bool,
}

impl<'w> Watch<'w> {
    pub(super) fn new(
        watch: &'w dyn Fn(Step) -> ControlFlow<()>,
        phase: Phase,
        total: u64,
    ) -> Self {
        Self { watch, phase, total, before: 0, cancelled: false }
    }

    /// A layer is done with, read or not.
    pub(super) fn pass(&mut self, layer: u64) -> ControlFlow<()> {
        self.before += layer;
        self.tell(0)
    }

    fn tell(&mut self, done: u64) -> ControlFlow<()> {
        let done = (self.before + done).min(self.total);
        let flow = (self.watch)(Step { phase: self.phase, done, total: self.total });
        self.cancelled |= flow.is_break();
        flow
    }
}

/// What a layer decompresses to.
pub(super) struct Stream<'a, 'w> {
    chunks: Receiver<io::Result<Vec<u8>>>,
    empty: Sender<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
    finished: bool,
    hasher: Option<Sha256>,
    /// Bytes that came out so far.
    seen: u64,
    limit: u64,
    /// Bytes of the file that went in so far.
    done: Arc<AtomicU64>,
    watch: &'a mut Watch<'w>,
}

impl Stream<'_, '_> {
    /// Whether it ended because whoever watches wanted that.
    pub(super) fn is_cancelled(&self) -> bool {
        self.watch.cancelled
    }

    /// SHA-256 of all that was read; zeros when nobody wanted it.
    pub(super) fn take_digest(&mut self) -> [u8; 32] {
        self.hasher.take().map_or([0; 32], |hasher| hasher.finalize().into())
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        let old = std::mem::take(&mut self.chunk);
        // Nobody needs it any more when the thread has ended.
        let _ = self.empty.send(old);
        self.at = 0;
        if self.watch.tell(self.done.load(Ordering::Relaxed)).is_break() {
            return Err(io::Error::other("cancelled"));
        }
        match self.chunks.recv() {
            Ok(Ok(chunk)) if chunk.is_empty() => self.finished = true,
            Ok(chunk) => self.chunk = chunk?,
            Err(_) => return Err(io::Error::other("decompression ended unexpectedly")),
        }
        self.seen += self.chunk.len() as u64;
        if self.seen > self.limit {
            let limit = ByteSize::from_bytes(self.limit).human();
            return Err(io::Error::other(format!("it decompresses to more than {limit}")));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&self.chunk);
        }
        Ok(())
    }
}

impl BufRead for Stream<'_, '_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.chunk.len() && !self.finished {
            self.next_chunk()?;
        }
        Ok(&self.chunk[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for Stream<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

/// What the thread does. It ends when nobody takes what it has; an empty chunk is the end.
fn decompress(
    mut decoder: Box<dyn Read>,
    full: &SyncSender<io::Result<Vec<u8>>>,
    recycled: &Receiver<Vec<u8>>,
) {
    loop {
        let mut chunk = recycled.try_recv().unwrap_or_default();
        chunk.resize(CHUNK, 0);
        let outcome = fill(&mut decoder, &mut chunk).map(|length| {
            chunk.truncate(length);
            chunk
        });
        let last = outcome.as_ref().map_or(true, Vec::is_empty);
        if full.send(outcome).is_err() || last {
            return;
        }
    }
}

fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut had = 0;
    while had < buffer.len() {
        match reader.read(&mut buffer[had..]) {
            Ok(0) => break,
            Ok(count) => had += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(had)
}

/// A part of a file, read without moving the file's own place.
struct FilePart {
    file: Arc<File>,
    at: u64,
    end: u64,
    done: Arc<AtomicU64>,
}

impl Read for FilePart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        let count = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += count as u64;
        self.done.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
