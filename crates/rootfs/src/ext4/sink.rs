//! The file a file system is written to, with holes wherever only zeros would be.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use mkext4::RegionSink;

/// Zeros are looked for in pieces of this many bytes: a block, the smallest possible hole.
const PIECE: usize = super::BLOCK as usize;

/// What a hole reads as; comparing with it is one call, also without optimisation.
static ZEROS: [u8; PIECE] = [0; PIECE];

/// Positioned writes to a file that starts as one hole.
#[derive(Debug)]
pub(super) struct SparseSink<'a> {
    file: &'a File,
}

impl<'a> SparseSink<'a> {
    /// Makes `file`, which must be empty, `len` bytes long.
    pub(super) fn new(file: &'a File, len: u64) -> io::Result<Self> {
        file.set_len(len)?;
        Ok(Self { file })
    }
}

impl RegionSink for SparseSink<'_> {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut at = 0;
        while at < bytes.len() {
            let zero = |at: usize| {
                let piece = &bytes[at..bytes.len().min(at + PIECE)];
                *piece == ZEROS[..piece.len()]
            };
            let start = at;
            let hole = zero(start);
            while at < bytes.len() && zero(at) == hole {
                at += PIECE;
            }
            if !hole {
                let end = at.min(bytes.len());
                self.file.write_all_at(&bytes[start..end], offset + start as u64)?;
            }
        }
        Ok(())
    }

    fn zeros(&mut self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
}
