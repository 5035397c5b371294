//! Getting the console and the supervisor's own log onto the disk without ever waiting for it.
//!
//! One thread writes. What it has not written yet is kept up to a limit, what comes on top of
//! that is dropped and counted, and a line in the file says so. So a disk that hangs or is full
//! costs output, never the guest's or a client's time.
//!
//! ```text
//!  console pipe ─┐ Pending (bounded)          thread
//!                ├──────────────────▶ take all ──▶ console.log ──(full)──▶ console.log.1
//!  Log::line   ──┤                            ├──▶ supervisor.log
//!  metrics pipe ─┘                            └──▶ metrics.log
//! ```

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use banger_proto::harmless::render_line;
use tokio::sync::oneshot;

use crate::rotated::RotatedFile;

/// Bytes that wait for the disk at most, for each file.
const PENDING_LIMIT: usize = 256 << 10;
/// Capacity that an empty buffer keeps.
const KEPT_CAPACITY: usize = 4 << 10;
/// Bytes in the supervisor's log before it is rotated: a guest can cause lines at will.
const LOG_LIMIT: u64 = 256 << 10;
/// Bytes of metrics in one file: one and a half hours of Firecracker's, which are 6 KiB a minute.
const METRICS_LIMIT: u64 = 512 << 10;
/// Stack of the writing thread in bytes; it only calls `open`, `write` and `rename`.
const THREAD_STACK: usize = 64 << 10;

/// Accepts output; cloned freely.
#[derive(Clone)]
pub(super) struct Recorder {
    shared: Arc<Shared>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

#[derive(Default)]
struct Shared {
    pending: Mutex<Pending>,
    wake: Condvar,
}

#[derive(Default)]
struct Pending {
    /// By [`Kind`].
    streams: [Stream; KINDS],
    closed: bool,
}

/// What is recorded, each in a file of its own.
#[derive(Clone, Copy)]
enum Kind {
    Console,
    Log,
    Metrics,
}

/// Their number.
const KINDS: usize = 3;

/// Output on its way to one file.
#[derive(Default)]
struct Stream {
    bytes: Vec<u8>,
    /// Bytes dropped after those.
    lost: u64,
}

impl Stream {
    fn push(&mut self, bytes: &[u8]) {
        // Once something is lost, what follows is too, until the writer has taken the rest:
        // else the gap would be reported in the wrong place.
        if self.lost == 0 && self.bytes.len() + bytes.len() <= PENDING_LIMIT {
            self.bytes.extend_from_slice(bytes);
        } else {
            self.lost += bytes.len() as u64;
        }
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.lost == 0
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        // Nobody panics while holding it, and the data would still be whole.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing thread's end, to be waited for.
#[derive(Debug)]
pub(super) struct Finished(oneshot::Receiver<()>);

impl Recorder {
    /// Starts the thread. Files are opened when there is something to write.
    ///
    /// # Errors
    /// When no thread can be made.
    pub(super) fn start(
        console: &Path,
        console_limit: u64,
        log: &Path,
        metrics: Option<&Path>,
    ) -> std::io::Result<(Self, Finished)> {
        let shared = Arc::<Shared>::default();
        let mut files = [
            Some(Recorded::new(console, console_limit, "console")),
            Some(Recorded::new(log, LOG_LIMIT, "log")),
            metrics.map(|path| Recorded::new(path, METRICS_LIMIT, "metrics")),
        ];
        let (finished, receiver) = oneshot::channel();
        let thread_shared = Arc::clone(&shared);
        std::thread::Builder::new().name("recorder".into()).stack_size(THREAD_STACK).spawn(
            move || {
                record(&thread_shared, &mut files);
                // Nobody waiting is fine.
                let _ = finished.send(());
            },
        )?;
        Ok((Self { shared }, Finished(receiver)))
    }

    /// Takes console output.
    pub(super) fn console(&self, bytes: &[u8]) {
        self.take(Kind::Console, bytes);
    }

    /// Takes what the VMM has counted.
    pub(super) fn metrics(&self, bytes: &[u8]) {
        self.take(Kind::Metrics, bytes);
    }

    /// Takes one line for the supervisor's log, which is read as it is; and some of what is logged
    /// comes from the guest's side.
    pub(super) fn log(&self, message: impl fmt::Display) {
        let message = render_line(&message.to_string());
        let line = format!("{:.3} {message}\n", jiff::Timestamp::now());
        self.take(Kind::Log, line.as_bytes());
    }

    fn take(&self, kind: Kind, bytes: &[u8]) {
        self.shared.lock().streams[kind as usize].push(bytes);
        self.shared.wake.notify_one();
    }

    /// Says that nothing more comes.
    pub(super) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
    }
}

impl Finished {
    /// Waits until everything is written; only useful after [`Recorder::close`].
    pub(super) async fn wait(self) {
        // An error is a thread that died: it writes no more either.
        let _ = self.0.await;
    }
}

fn record(shared: &Shared, files: &mut [Option<Recorded>; KINDS]) {
    loop {
        let mut pending = shared.lock();
        while pending.streams.iter().all(Stream::is_empty) && !pending.closed {
            pending = shared.wake.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        let streams = std::mem::take(&mut pending.streams);
        let closed = pending.closed;
        drop(pending);
        if closed && streams.iter().all(Stream::is_empty) {
            return;
        }
        for (kind, (stream, file)) in streams.into_iter().zip(&mut *files).enumerate() {
            if let Some(file) = file {
                give_back(&mut shared.lock().streams[kind], file.take(stream));
            }
        }
    }
}

/// Hands a written buffer back, so that steady output does not allocate each time.
fn give_back(stream: &mut Stream, mut buffer: Vec<u8>) {
    if stream.bytes.capacity() == 0 {
        buffer.clear();
        buffer.shrink_to(KEPT_CAPACITY);
        stream.bytes = buffer;
    }
}

/// A file, and what could not be written to it.
struct Recorded {
    file: RotatedFile,
    what: &'static str,
    /// Bytes that could not be written since the last that could.
    lost: u64,
}

impl Recorded {
    fn new(path: &Path, limit: u64, what: &'static str) -> Self {
        Self { file: RotatedFile::new(path, limit), what, lost: 0 }
    }

    /// Writes `stream` and gives its buffer back.
    fn take(&mut self, stream: Stream) -> Vec<u8> {
        if !stream.bytes.is_empty() {
            self.write(&stream.bytes);
        }
        self.lost += stream.lost;
        if self.lost > 0 {
            let note = format!("\n[banger: {} bytes of {} lost]\n", self.lost, self.what);
            if self.file.append(note.as_bytes()).is_ok() {
                self.lost = 0;
            }
        }
        stream.bytes
    }

    fn write(&mut self, bytes: &[u8]) {
        // Cut so that neither file ever grows over the limit by more than one piece.
        for piece in bytes.chunks(KEPT_CAPACITY) {
            if self.file.append(piece).is_err() {
                self.lost += piece.len() as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> String {
        fs_err::read_to_string(path).unwrap()
    }

    #[tokio::test]
    async fn rotates_and_keeps_what_an_earlier_boot_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let (console, log) = (dir.path().join("console.log"), dir.path().join("own.log"));
        let metrics = dir.path().join("metrics.log");
        fs_err::write(&console, "earlier\n").unwrap();
        let (recorder, finished) = Recorder::start(&console, 10_000, &log, Some(&metrics)).unwrap();
        recorder.console(&[b'a'; 20_000]);
        recorder.console(b"tail");
        recorder.log("one\nline");
        recorder.metrics(b"{}\n");
        recorder.close();
        finished.wait().await;

        let (kept, rotated) = (read(&console), read(&dir.path().join("console.log.1")));
        assert!(rotated.starts_with("earlier\naaa"));
        assert!(rotated.len() < 10_000 + KEPT_CAPACITY && kept.ends_with("tail"), "{kept}");
        assert_eq!(kept.len() + rotated.len(), 20_012);
        assert!(read(&log).ends_with(" one line\n"));
        assert_eq!(read(&metrics), "{}\n");
    }

    #[tokio::test]
    async fn a_disk_that_refuses_costs_output_and_says_so_later() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("later");
        let mut file = Recorded::new(&missing.join("console.log"), 1 << 20, "console");
        file.take(Stream { bytes: b"12345".to_vec(), lost: 2 });
        fs_err::create_dir(&missing).unwrap();
        file.take(Stream { bytes: b"back\n".to_vec(), lost: 0 });
        assert_eq!(
            read(&missing.join("console.log")),
            "back\n\n[banger: 7 bytes of console lost]\n"
        );
    }

    #[test]
    fn pending_output_is_bounded() {
        let mut stream = Stream::default();
        for _ in 0..1000 {
            stream.push(&[0; 1000]);
        }
        stream.push(&[1]);
        assert_eq!(stream.bytes.len(), 262_000);
        assert_eq!(stream.lost, 1_000_000 - 262_000 + 1);
    }
}
