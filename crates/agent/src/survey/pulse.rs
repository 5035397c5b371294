//! Signs of life. A survey that finds nothing to send for minutes, in a large tree or a large file,
//! is not to be taken for one that hangs; one that hangs, on a file system that does not answer, is.
//!
//! ```text
//!  thread ── beat, beat ──▶ count ◀── has it moved? ── task ── empty Data frame ──▶ host
//! ```

use std::io::{self, BufWriter, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use banger_proto::guest::frame::DATA_CHUNK;
use banger_tree::Inlet;

/// How much a thread has done, in steps of a moment each.
#[derive(Debug, Clone, Default)]
pub(super) struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// Notes that a step was done.
    pub(super) fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The steps until now.
    pub(super) fn steps(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where a survey writes what it finds, and notes that it goes on.
#[derive(Debug)]
pub(super) struct Out {
    bytes: BufWriter<Inlet>,
    pulse: Pulse,
}

impl Out {
    /// Writes to `inlet`.
    pub(super) fn new(inlet: Inlet, pulse: Pulse) -> Self {
        Self { bytes: BufWriter::with_capacity(DATA_CHUNK, inlet), pulse }
    }

    /// Notes that a step was done.
    pub(super) fn beat(&self) {
        self.pulse.beat();
    }

    /// `reader`, each piece of which is a step.
    pub(super) fn beating<R: Read>(&self, reader: R) -> Beating<R> {
        Beating { reader, pulse: self.pulse.clone() }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.bytes.flush()
    }
}

/// A reader that gives signs of life.
#[derive(Debug)]
pub(super) struct Beating<R> {
    reader: R,
    pulse: Pulse,
}

impl<R: Read> Read for Beating<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pulse.beat();
        self.reader.read(buffer)
    }
}
