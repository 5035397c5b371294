//! The blocks of an archive, one after the other.

use std::io::{self, BufRead, Read};

use super::header::{BLOCK, Block};
use super::pax::{Pax, Scope};
use super::sparse::{Segment, pairs};
use super::{ArchiveError, Member, number};

/// Longest extended header, long name or sparse map, in bytes. A path has 4096 bytes, an
/// extended attribute of ext4 less; a map of this length has some 50,000 segments.
const MAX_EXTENSION: u64 = 1 << 20;

/// Reads an archive from `R`.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    /// Bytes read so far.
    at: u64,
    /// Bytes of the current entry's payload that are still to come, and of the padding after.
    payload: u64,
    padding: u64,
    /// What global headers said.
    global: Pax,
}

impl<R: BufRead> Reader<R> {
    /// An archive that begins with the first byte of `input`.
    pub fn new(input: R) -> Self {
        Self { input, at: 0, payload: 0, padding: 0, global: Pax::default() }
    }

    /// What the archive is read from.
    pub fn input(&self) -> &R {
        &self.input
    }

    /// As [`Reader::input`].
    pub fn input_mut(&mut self) -> &mut R {
        &mut self.input
    }

    /// The next entry, past what is left of the one before; `None` at the end.
    ///
    /// # Errors
    /// When the archive is broken or cannot be read.
    #[expect(clippy::should_implement_trait, reason = "what it returns is read on from here")]
    pub fn next(&mut self) -> Result<Option<Member>, ArchiveError> {
        let mut pax: Option<Pax> = None;
        let (mut long_path, mut long_link) = (None, None);
        loop {
            self.skip()?;
            let at = self.at;
            let broken = |why| ArchiveError::Header { at, why };
            let Some(bytes) = self.block()? else { return Ok(None) };
            let Some(block) = Block::parse(&bytes).map_err(broken)? else { return Ok(None) };
            if let b'x' | b'X' | b'g' | b'L' | b'K' = block.kind() {
                let size = block.size().ok_or_else(|| broken("it has no usable size"))?;
                let body = self.extension(at, size)?;
                match block.kind() {
                    b'L' => long_path = Some(until_nul(body)),
                    b'K' => long_link = Some(until_nul(body)),
                    b'g' => self.global.apply(&body, Scope::All).map_err(broken)?,
                    _ => {
                        let mut local = self.global.clone();
                        local.apply(&body, Scope::Entry).map_err(broken)?;
                        pax = Some(local);
                    }
                }
                continue;
            }
            let mut pax = pax.unwrap_or_else(|| self.global.clone());
            pax.path = pax.path.or(long_path);
            pax.link = pax.link.or(long_link);
            return self.member(at, &block, pax).map(Some);
        }
    }

    /// The contents of the entry that [`Reader::next`] returned last.
    pub fn payload(&mut self) -> Payload<'_, R> {
        Payload { reader: self }
    }

    /// Reads what is left after the end of the archive, so that all of the input was seen.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn drain(&mut self) -> Result<(), ArchiveError> {
        self.skip()?;
        loop {
            let length = self.fill()?.len();
            if length == 0 {
                return Ok(());
            }
            self.consume(length);
        }
    }

    /// From here on the next `size` bytes are the payload.
    pub(super) fn set_payload(&mut self, size: u64) {
        let block = BLOCK as u64;
        self.payload = size;
        self.padding = (block - size % block) % block;
    }

    /// Blocks that continue GNU's old sparse map.
    pub(super) fn gnu_sparse_blocks(
        &mut self,
        at: u64,
        map: &mut Vec<Segment>,
    ) -> Result<(), ArchiveError> {
        let broken = |why| ArchiveError::Header { at, why };
        for _ in 0..MAX_EXTENSION / BLOCK as u64 {
            let Some(bytes) = self.block()? else { return Err(broken("it ends in a sparse map")) };
            let (raw, rest) = bytes.as_chunks::<24>();
            append_gnu(map, raw.iter().map(|entry| entry.split_at(12)))
                .ok_or_else(|| broken("it has no usable map of a sparse file"))?;
            // 21 entries, then whether another block follows.
            if rest[0] == 0 {
                return Ok(());
            }
        }
        Err(broken("it has a map of a sparse file that never ends"))
    }

    /// The map in front of a sparse file's contents: decimal numbers, each on a line of its own,
    /// the first of which says how many segments follow; then zeros up to a whole block.
    pub(super) fn payload_map(&mut self, at: u64) -> Result<Vec<Segment>, ArchiveError> {
        let broken = || ArchiveError::Header { at, why: "it has no usable map of a sparse file" };
        let mut text = Vec::new();
        let mut numbers = Vec::new();
        let mut from = 0;
        loop {
            while let Some(end) = text[from..].iter().position(|&byte| byte == b'\n') {
                numbers.push(number::parse_decimal(&text[from..from + end]).ok_or_else(broken)?);
                from += end + 1;
                let wanted = numbers[0].checked_mul(2).ok_or_else(broken)?;
                if numbers.len() as u64 > wanted {
                    let map = pairs(numbers.into_iter().skip(1).map(Some));
                    return map.ok_or_else(broken);
                }
            }
            if self.payload < BLOCK as u64 || text.len() as u64 >= MAX_EXTENSION {
                return Err(broken());
            }
            let bytes = self.block()?.ok_or_else(broken)?;
            self.payload -= BLOCK as u64;
            text.extend_from_slice(&bytes);
        }
    }

    /// Bytes of the payload that are still to come.
    pub(super) fn left(&self) -> u64 {
        self.payload
    }

    fn extension(&mut self, at: u64, size: u64) -> Result<Vec<u8>, ArchiveError> {
        if size > MAX_EXTENSION {
            let why = "it describes an entry with more than 1 MiB";
            return Err(ArchiveError::Header { at, why });
        }
        self.set_payload(size);
        let mut body = Vec::new();
        self.payload()
            .read_to_end(&mut body)
            .map_err(|source| ArchiveError::Read { at: self.at, source })?;
        Ok(body)
    }

    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, ArchiveError> {
        let mut bytes = [0; BLOCK];
        let mut had = 0;
        while had < BLOCK {
            let input = self.fill()?;
            if input.is_empty() {
                break;
            }
            let count = input.len().min(BLOCK - had);
            bytes[had..had + count].copy_from_slice(&input[..count]);
            self.consume(count);
            had += count;
        }
        match had {
            // Archives end with two blocks of zeros; without them there is nothing to miss.
            0 => Ok(None),
            BLOCK => Ok(Some(bytes)),
            _ => Err(self.ends_early()),
        }
    }

    /// Passes over what is left of the current entry.
    fn skip(&mut self) -> Result<(), ArchiveError> {
        let mut left = self.payload.saturating_add(self.padding);
        (self.payload, self.padding) = (0, 0);
        while left > 0 {
            let length = self.fill()?.len();
            if length == 0 {
                return Err(self.ends_early());
            }
            let count = usize::try_from(left).map_or(length, |left| length.min(left));
            self.consume(count);
            left -= count as u64;
        }
        Ok(())
    }

    fn fill(&mut self) -> Result<&[u8], ArchiveError> {
        let at = self.at;
        self.input.fill_buf().map_err(|source| ArchiveError::Read { at, source })
    }

    fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.at += count as u64;
    }

    fn ends_early(&self) -> ArchiveError {
        ArchiveError::Read { at: self.at, source: io::ErrorKind::UnexpectedEof.into() }
    }
}

/// The contents of one entry.
#[derive(Debug)]
pub struct Payload<'a, R> {
    reader: &'a mut Reader<R>,
}

impl<R: BufRead> BufRead for Payload<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let left = self.reader.payload;
        if left == 0 {
            return Ok(&[]);
        }
        let input = self.reader.input.fill_buf()?;
        if input.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(&input[..usize::try_from(left).map_or(input.len(), |left| input.len().min(left))])
    }

    fn consume(&mut self, count: usize) {
        self.reader.payload -= count as u64;
        self.reader.consume(count);
    }
}

impl<R: BufRead> Read for Payload<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let input = self.fill_buf()?;
        let count = input.len().min(buffer.len());
        buffer[..count].copy_from_slice(&input[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// Adds entries of GNU's old map; those of only zeros are unused.
pub(super) fn append_gnu<'a>(
    map: &mut Vec<Segment>,
    raw: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Option<()> {
    for (offset, length) in raw {
        if offset[0] == 0 || length[0] == 0 {
            continue;
        }
        let number = |field| number::parse_field(field).and_then(|value| u64::try_from(value).ok());
        map.push(Segment { offset: number(offset)?, length: number(length)? });
    }
    Some(())
}

fn until_nul(mut text: Vec<u8>) -> Vec<u8> {
    text.truncate(text.iter().position(|&byte| byte == 0).unwrap_or(text.len()));
    text
}
