//! The file a file system is written to, with holes wherever only zeros would be.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use mkext4::RegionSink;

use super::BLOCK_LEN;

/// What a hole reads as; comparing with it is one call, also without optimisation.
static ZEROS: [u8; BLOCK_LEN] = [0; BLOCK_LEN];
/// Bytes written at once.
const BUFFER: usize = 1 << 20;

/// Collects what is written at ascending places and writes it in large parts. Small gaps, as
/// there are after the end of every file, are written over with the zeros that they are.
#[derive(Debug)]
pub(super) struct Sink<'a> {
    file: &'a File,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    start: u64,
}

impl<'a> Sink<'a> {
    /// Makes `file`, which must be empty, `len` bytes long.
    pub(super) fn new(file: &'a File, len: u64) -> io::Result<Self> {
        file.set_len(len)?;
        Ok(Self { file, buffer: Vec::with_capacity(BUFFER), start: 0 })
    }

    /// Puts `bytes` at `offset`, which is at or past the end of what was put before.
    pub(super) fn put(&mut self, offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        let end = self.start + self.buffer.len() as u64;
        let gap = offset.checked_sub(end).and_then(|gap| usize::try_from(gap).ok());
        match gap {
            Some(gap) if gap < BLOCK_LEN && self.buffer.len() + gap <= BUFFER => {
                self.buffer.resize(self.buffer.len() + gap, 0);
            }
            _ => {
                self.flush()?;
                self.start = offset;
            }
        }
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BUFFER - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == BUFFER {
                self.flush()?;
            }
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        write_sparse(self.file, self.start, &self.buffer)?;
        self.start += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Writes what is not zero; pieces are blocks, the smallest possible holes.
fn write_sparse(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    // The first piece ends where a block of the file does.
    let first =
        (BLOCK_LEN - usize::try_from(offset % BLOCK_LEN as u64).unwrap_or(0)).min(bytes.len());
    let end_of = |at: usize| if at < first { first } else { bytes.len().min(at + BLOCK_LEN) };
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let is_hole = |at: usize| {
            let piece = &bytes[at..end_of(at)];
            *piece == ZEROS[..piece.len()]
        };
        let hole = is_hole(start);
        while at < bytes.len() && is_hole(at) == hole {
            at = end_of(at);
        }
        if !hole {
            file.write_all_at(&bytes[start..at], offset + start as u64)?;
        }
    }
    Ok(())
}

/// Where the library writes to: what it writes is large already.
#[derive(Debug)]
pub(super) struct LibrarySink<'a>(pub(super) &'a File);

impl RegionSink for LibrarySink<'_> {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        write_sparse(self.0, offset, bytes)
    }

    fn zeros(&mut self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
}
