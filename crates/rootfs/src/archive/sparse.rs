//! Maps of sparse files: where the bytes of the payload belong. Pure.
//!
//! GNU tar has four forms
//! (<https://www.gnu.org/software/tar/manual/html_node/Sparse-Formats.html>): the map in the header
//! block and blocks after it, twice in PAX records (0.0 and 0.1), and in front of the contents
//! (1.0). What follows the map is always the segments' bytes, one after the other.

use super::number::parse_decimal;
use crate::ext4::BLOCK;
use crate::tree::Piece;

/// Bytes of a file that stand in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where they belong in the file.
    pub offset: u64,
    /// How many.
    pub length: u64,
}

/// What PAX records say of a sparse file.
#[derive(Debug, Clone, Default)]
pub(super) struct PaxSparse {
    /// The file's name; the one in the header is made up.
    pub(super) name: Option<Vec<u8>>,
    /// The file's size, holes included.
    pub(super) size: Option<u64>,
    major: Option<u64>,
    /// The map of version 0; `None` when there was none.
    pub(super) map: Option<Vec<Segment>>,
    /// An offset whose length is still to come.
    offset: Option<u64>,
}

impl PaxSparse {
    /// Whether the map stands in front of the contents.
    pub(super) fn map_is_in_payload(&self) -> bool {
        self.major == Some(1)
    }

    /// Takes over the record `GNU.sparse.KEY=VALUE`; `None` when it makes no sense.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(parse_decimal(value)?),
            b"major" => self.major = Some(parse_decimal(value).filter(|&major| major <= 1)?),
            b"numblocks" => {
                self.map.get_or_insert_default();
            }
            b"offset" => self.offset = Some(parse_decimal(value)?),
            b"numbytes" => {
                let (offset, length) = (self.offset.take()?, parse_decimal(value)?);
                self.map.get_or_insert_default().push(Segment { offset, length });
            }
            b"map" => {
                let numbers = value.split(|&byte| byte == b',').filter(|text| !text.is_empty());
                self.map = Some(pairs(numbers.map(parse_decimal))?);
            }
            _ => {}
        }
        Some(())
    }
}

/// Offsets and lengths in turn.
pub(super) fn pairs(numbers: impl Iterator<Item = Option<u64>>) -> Option<Vec<Segment>> {
    let mut numbers = numbers.fuse();
    let mut map = Vec::new();
    while let Some(offset) = numbers.next() {
        map.push(Segment { offset: offset?, length: numbers.next()?? });
    }
    Some(map)
}

/// A map that can be: ascending, inside of the file, and as long as the payload. Empty segments,
/// which mark a hole at the end, are dropped.
pub(super) fn check(map: Vec<Segment>, size: u64, stored: u64) -> Option<Vec<Segment>> {
    let (mut end, mut sum) = (0_u64, 0_u64);
    for segment in &map {
        if segment.offset < end {
            return None;
        }
        end = segment.offset.checked_add(segment.length)?;
        sum = sum.checked_add(segment.length)?;
    }
    (end <= size && sum == stored)
        .then(|| map.into_iter().filter(|segment| segment.length > 0).collect())
}

/// The blocks that the segments of a file touch; `None` beyond what ext4 can number.
pub(super) fn pieces(map: &[Segment]) -> Option<Vec<Piece>> {
    let mut pieces: Vec<Piece> = Vec::new();
    for segment in map {
        let first = u32::try_from(segment.offset / BLOCK).ok()?;
        let end = u32::try_from((segment.offset + segment.length).div_ceil(BLOCK)).ok()?;
        match pieces.last_mut() {
            Some(last) if first <= last.first + last.count => {
                last.count = last.count.max(end - last.first);
            }
            _ => pieces.push(Piece { first, count: end - first }),
        }
    }
    Some(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(u64, u64)]) -> Vec<Segment> {
        pairs.iter().map(|&(offset, length)| Segment { offset, length }).collect()
    }

    #[test]
    fn maps_that_cannot_be() {
        assert_eq!(check(map(&[(0, 4), (8, 4), (20, 0)]), 20, 8), Some(map(&[(0, 4), (8, 4)])));
        assert_eq!(check(map(&[(8, 4), (0, 4)]), 20, 8), None, "not ascending");
        assert_eq!(check(map(&[(0, 4), (2, 4)]), 20, 8), None, "overlapping");
        assert_eq!(check(map(&[(0, 4), (18, 4)]), 20, 8), None, "past the end");
        assert_eq!(check(map(&[(0, 4)]), 20, 8), None, "less than the payload");
        assert_eq!(check(map(&[(u64::MAX, 4)]), 20, 8), None, "overflowing");
    }

    #[test]
    fn segments_in_one_block_are_one_piece() {
        let pieces = pieces(&map(&[(0, 10), (4000, 200), (8192, 1), (20_000, 5000)])).unwrap();
        let blocks: Vec<_> = pieces.iter().map(|piece| (piece.first, piece.count)).collect();
        assert_eq!(blocks, [(0, 3), (4, 3)]);
    }
}
