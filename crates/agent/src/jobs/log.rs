//! What one job wrote: its output and its errors in the order in which they came, in two files
//! at most.
//!
//! ```text
//!   ID.log.1  [u64 start][frame][frame]…   the older segment, complete
//!   ID.log    [u64 start][frame]…          the current one; full, it becomes the older
//! ```
//!
//! The frames are those of the guest protocol ([`banger_proto::guest::frame`]): `Stdout`, `Stderr`,
//! and `Event` with [`Skipped`] where something could not be written. `start` (big endian) is how
//! many bytes of frames came before the segment, so that whoever reads knows how many of them are
//! not there any more.
//!
//! Everything here may wait for the disk: it is called on threads that may block.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use banger_proto::JobId;
use banger_proto::guest::Skipped;
use banger_proto::guest::frame::{Frame, HEADER_LEN, Kind, decode_header};
use tokio::sync::watch;

use super::directory::Directory;

/// Bytes of frames in one segment; a job keeps this much of its last output at least.
pub(super) const SEGMENT: u64 = 4 << 20;
/// Bytes before the first frame of a segment.
const START_LEN: u64 = 8;

/// A place in a log: bytes of frames before it.
pub(super) type Position = u64;

/// The log of one job.
#[derive(Debug)]
pub(super) struct Log {
    directory: Arc<Directory>,
    name: String,
    segments: Mutex<Segments>,
    end: watch::Sender<End>,
}

/// How far a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    /// Where the next frame will be.
    pub(super) at: Position,
    /// Whether none will.
    pub(super) closed: bool,
}

#[derive(Debug)]
struct Segments {
    older: Option<Segment>,
    current: Segment,
    /// The current one's file, while it is written.
    writer: Option<File>,
    /// Bytes of frames that could not be written since the last one that was.
    lost: u64,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    start: Position,
    len: u64,
}

impl Segment {
    fn end(self) -> Position {
        self.start + self.len
    }
}

impl Log {
    /// The log of a new job.
    pub(super) fn create(directory: Arc<Directory>, id: &JobId) -> io::Result<Self> {
        let name = format!("{id}.log");
        let current = Segment { start: 0, len: 0 };
        let writer = begin_segment(&directory, &name, current.start)?;
        let segments = Segments { older: None, current, writer: Some(writer), lost: 0 };
        Ok(Self::of(directory, name, segments, false))
    }

    /// The log that an earlier agent left, to be written on where `goes_on`. What that agent was
    /// writing when it was killed is cut off.
    pub(super) fn reopen(directory: Arc<Directory>, id: &JobId, goes_on: bool) -> io::Result<Self> {
        let name = format!("{id}.log");
        let older = directory.open(&older(&name)).and_then(|file| measure(&file)).ok();
        // Killed between two segments, it has left the older one only.
        let fresh = Segment { start: older.map_or(0, Segment::end), len: 0 };
        let (current, writer) = match directory.append(&name) {
            Ok(file) => {
                let current = measure(&file)?;
                file.set_len(START_LEN + current.len)?;
                (current, goes_on.then_some(file))
            }
            Err(_) if goes_on => (fresh, Some(begin_segment(&directory, &name, fresh.start)?)),
            Err(_) => (fresh, None),
        };
        let segments = Segments { older, current, writer, lost: 0 };
        Ok(Self::of(directory, name, segments, !goes_on))
    }

    fn of(directory: Arc<Directory>, name: String, segments: Segments, closed: bool) -> Self {
        let end = watch::Sender::new(End { at: segments.current.end(), closed });
        Self { directory, name, segments: Mutex::new(segments), end }
    }

    /// Adds a frame of at most `DATA_CHUNK` bytes. One that cannot be written is counted, so that
    /// readers are told.
    pub(super) fn append(&self, kind: Kind, bytes: &[u8]) {
        let mut segments = self.lock();
        let told = match segments.lost {
            0 => Ok(()),
            lost => match serde_json::to_vec(&Skipped { skipped: lost }) {
                Ok(json) => self.write(&mut segments, Kind::Event, &json),
                Err(error) => Err(error.into()),
            },
        };
        if told.is_ok() {
            segments.lost = 0;
        }
        if told.and_then(|()| self.write(&mut segments, kind, bytes)).is_err() {
            segments.lost += (HEADER_LEN + bytes.len()) as u64;
        }
        let at = segments.current.end();
        drop(segments);
        self.end.send_modify(|end| end.at = at);
    }

    fn write(&self, segments: &mut Segments, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        let header = banger_proto::guest::frame::encode_header(kind, bytes.len());
        let header = header.map_err(io::Error::other)?;
        let len = (header.len() + bytes.len()) as u64;
        if segments.current.len + len > SEGMENT {
            self.rotate(segments)?;
        }
        let Some(file) = &mut segments.writer else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let record = [&header[..], bytes].concat();
        if let Err(error) = file.write_all(&record) {
            // Half a frame would make nonsense of all that follow.
            file.set_len(START_LEN + segments.current.len)?;
            return Err(error);
        }
        segments.current.len += len;
        Ok(())
    }

    fn rotate(&self, segments: &mut Segments) -> io::Result<()> {
        self.directory.rename(&self.name, &older(&self.name))?;
        segments.older = Some(segments.current);
        segments.current = Segment { start: segments.current.end(), len: 0 };
        segments.writer = None;
        segments.writer = Some(begin_segment(&self.directory, &self.name, segments.current.start)?);
        Ok(())
    }

    /// Says that nothing follows, and closes the file.
    pub(super) fn close(&self) {
        self.lock().writer = None;
        self.end.send_modify(|end| end.closed = true);
    }

    /// Removes the files. Who reads goes on to the end of the file it reads.
    pub(super) fn remove(&self) {
        for name in [older(&self.name), self.name.clone()] {
            // A file that stays is found by the next agent.
            let _ = self.directory.remove(&name);
        }
    }

    /// Follows how far it is.
    pub(super) fn watch(&self) -> watch::Receiver<End> {
        self.end.subscribe()
    }

    /// Bytes that it takes.
    pub(super) fn size(&self) -> u64 {
        let segments = self.lock();
        segments.older.map_or(0, |older| older.len) + segments.current.len
    }

    /// The segment that `at` lies in, or the oldest that is left, and its file; none when there
    /// is no file, because nothing was ever written.
    fn open(&self, at: Position) -> io::Result<Option<(Segment, File)>> {
        let segments = self.lock();
        if let Some(segment) = segments.older.filter(|older| at < older.end()) {
            return Ok(Some((segment, self.directory.open(&older(&self.name))?)));
        }
        match self.directory.open(&self.name) {
            Err(error) if segments.current.len == 0 && error.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            file => Ok(Some((segments.current, file?))),
        }
    }

    /// Where the segment that starts at `start` ends, if that is still to grow.
    fn current_end(&self, start: Position) -> Option<Position> {
        let current = self.lock().current;
        (current.start == start).then(|| current.end())
    }

    fn lock(&self) -> MutexGuard<'_, Segments> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Name of the older segment.
fn older(name: &str) -> String {
    format!("{name}.1")
}

fn begin_segment(directory: &Directory, name: &str, start: Position) -> io::Result<File> {
    let mut file = directory.create(name)?;
    file.write_all(&start.to_be_bytes())?;
    Ok(file)
}

/// What the file of a segment holds: its whole frames.
fn measure(file: &File) -> io::Result<Segment> {
    let mut start = [0; START_LEN as usize];
    file.read_exact_at(&mut start, 0)?;
    let start = Position::from_be_bytes(start);
    let available = file.metadata()?.len() - START_LEN;
    let mut len = 0;
    while let Some(next) = frame_end(file, len, available)? {
        len = next;
    }
    Ok(Segment { start, len })
}

/// Where the frame at `at` ends, both from the first frame; none when it is not all there.
fn frame_end(file: &File, at: u64, available: u64) -> io::Result<Option<u64>> {
    if at + HEADER_LEN as u64 > available {
        return Ok(None);
    }
    let mut header = [0; HEADER_LEN];
    file.read_exact_at(&mut header, START_LEN + at)?;
    let Ok((_, length)) = decode_header(header) else { return Ok(None) };
    let end = at + (HEADER_LEN + length) as u64;
    Ok((end <= available).then_some(end))
}

/// Reads a log from a place on. Many can read one log.
#[derive(Debug)]
pub(super) struct Reader {
    log: Arc<Log>,
    at: Position,
    file: Option<(Segment, File)>,
}

impl Reader {
    /// A reader from `at` on.
    pub(super) fn new(log: Arc<Log>, at: Position) -> Self {
        Self { log, at, file: None }
    }

    /// The next frame, with its place; none where there is none yet.
    pub(super) fn next(&mut self) -> io::Result<Option<(Position, Frame)>> {
        loop {
            let Some((segment, file)) = &self.file else {
                let Some(opened) = self.log.open(self.at)? else { return Ok(None) };
                let skipped = opened.0.start.saturating_sub(self.at);
                self.at = self.at.max(opened.0.start);
                self.file = Some(opened);
                if skipped > 0 {
                    let frame = Frame::json(Kind::Event, &Skipped { skipped });
                    return Ok(Some((self.at, frame.map_err(io::Error::other)?)));
                }
                continue;
            };
            let grows = self.log.current_end(segment.start);
            // One that does not grow any more is measured once more: it may have grown since.
            let end = match grows {
                Some(end) => end,
                None => segment.start + (file.metadata()?.len() - START_LEN),
            };
            if self.at >= end {
                if grows.is_some() {
                    return Ok(None);
                }
                self.file = None;
                continue;
            }
            let mut header = [0; HEADER_LEN];
            let place = START_LEN + (self.at - segment.start);
            file.read_exact_at(&mut header, place)?;
            let (kind, length) = decode_header(header).map_err(io::Error::other)?;
            let mut payload = vec![0; length];
            file.read_exact_at(&mut payload, place + HEADER_LEN as u64)?;
            let at = self.at;
            self.at += (HEADER_LEN + length) as u64;
            return Ok(Some((at, Frame { kind, payload })));
        }
    }
}

#[cfg(test)]
mod tests {
    use banger_proto::guest::frame::DATA_CHUNK;

    use super::*;

    fn directory(path: &std::path::Path) -> Arc<Directory> {
        let path = path.to_owned();
        Arc::new(Directory::new(move || Ok(File::open(&path)?.into())).unwrap())
    }

    fn id() -> JobId {
        JobId::from_random([7; 6])
    }

    /// What a reader from `at` on finds: output, errors, skipped bytes.
    fn read(log: &Arc<Log>, at: Position) -> (Vec<u8>, Vec<u8>, u64) {
        let mut reader = Reader::new(Arc::clone(log), at);
        drain(&mut reader)
    }

    fn drain(reader: &mut Reader) -> (Vec<u8>, Vec<u8>, u64) {
        let (mut out, mut err, mut lost) = (Vec::new(), Vec::new(), 0);
        while let Some((_, frame)) = reader.next().unwrap() {
            match frame.kind {
                Kind::Stdout => out.extend(frame.payload),
                Kind::Stderr => err.extend(frame.payload),
                _ => lost += frame.parse::<Skipped>().unwrap().skipped,
            }
        }
        (out, err, lost)
    }

    #[test]
    fn what_is_written_is_read_in_order_by_everybody() {
        let dir = tempfile::tempdir().unwrap();
        let log = Arc::new(Log::create(directory(dir.path()), &id()).unwrap());
        let mut early = Reader::new(Arc::clone(&log), 0);
        assert!(early.next().unwrap().is_none());
        log.append(Kind::Stdout, b"one ");
        log.append(Kind::Stderr, b"oops");
        assert_eq!(drain(&mut early), (b"one ".to_vec(), b"oops".to_vec(), 0));
        let now = log.watch().borrow().at;
        log.append(Kind::Stdout, b"two");
        log.close();
        assert_eq!(drain(&mut early).0, b"two");
        assert_eq!(read(&log, 0).0, b"one two");
        assert_eq!(read(&log, now).0, b"two");
        assert!(log.watch().borrow().closed);
        log.append(Kind::Stdout, b"late");
        assert_eq!(read(&log, 0).0, b"one two", "a closed log stays as it is");
    }

    #[test]
    fn the_bound_holds_and_what_is_gone_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let log = Arc::new(Log::create(directory(dir.path()), &id()).unwrap());
        let piece = |n: u32| vec![(n % 251) as u8; DATA_CHUNK];
        let mut slow = Reader::new(Arc::clone(&log), 0);
        log.append(Kind::Stdout, b"begin");
        slow.next().unwrap().unwrap();
        for n in 0..300 {
            log.append(Kind::Stdout, &piece(n));
        }
        let files = std::fs::read_dir(dir.path()).unwrap();
        let size: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!((SEGMENT..=2 * (SEGMENT + START_LEN)).contains(&size), "{size}");
        assert_eq!(log.size() + 2 * START_LEN, size);
        let total = 5 + 5 + 300 * (HEADER_LEN + DATA_CHUNK) as u64;
        for (out, _, skipped) in [read(&log, 0), drain(&mut slow)] {
            assert!(skipped > 0);
            assert!(out.ends_with(&piece(299)));
            let kept = out.len() as u64;
            let frames = kept.div_ceil(DATA_CHUNK as u64);
            assert!(kept + frames * HEADER_LEN as u64 + skipped <= total);
        }
        let (out, _, skipped) = read(&log, 0);
        let frames = (out.len() / DATA_CHUNK) as u64;
        assert_eq!(out.len() as u64 + frames * HEADER_LEN as u64 + skipped, total);
    }

    #[test]
    fn half_a_frame_of_a_killed_agent_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        {
            let log = Log::create(directory(dir.path()), &id()).unwrap();
            log.append(Kind::Stdout, b"whole");
            log.append(Kind::Stdout, b"half of it");
        }
        let path = dir.path().join(format!("{}.log", id()));
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(file.metadata().unwrap().len() - 3).unwrap();
        let log = Arc::new(Log::reopen(directory(dir.path()), &id(), true).unwrap());
        log.append(Kind::Stderr, b"on");
        assert_eq!(read(&log, 0), (b"whole".to_vec(), b"on".to_vec(), 0));
        let again = Arc::new(Log::reopen(directory(dir.path()), &id(), false).unwrap());
        assert_eq!(read(&again, 0), (b"whole".to_vec(), b"on".to_vec(), 0));
        assert!(again.watch().borrow().closed);
    }
}
