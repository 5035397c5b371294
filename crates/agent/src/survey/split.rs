//! A split index (`git update-index --split-index`): most entries are in a file that several
//! versions of the index share, and the index itself says in its extension `link` which file that
//! is and which of its entries are no more.
//!
//! The formats are those of gitformat-index(5), "Split index", and of git's `ewah/ewok.h`.

use banger_tree::blob::{ObjectFormat, ObjectId};

use super::index::take_u32;

/// What an index says of the one that it shares entries with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Link<'a> {
    name: ObjectId,
    /// Where the bitmap of entries that are no more begins.
    deleted: &'a [u8],
}

impl<'a> Link<'a> {
    /// Finds it in what follows the entries of an index; none where all entries are in that index.
    pub(super) fn find(mut extensions: &'a [u8], format: ObjectFormat) -> Option<Self> {
        loop {
            let (signature, rest) = extensions.split_at_checked(4)?;
            let (length, rest) = take_u32(rest)?;
            let (extension, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            if signature == b"link" {
                let (name, deleted) = extension.split_at_checked(format.id_len())?;
                let name = ObjectId::from_bytes(format, name)?;
                return name
                    .as_bytes()
                    .iter()
                    .any(|byte| *byte != 0)
                    .then_some(Self { name, deleted });
            }
            extensions = rest;
        }
    }

    /// Path of the shared index, from the top of the working tree.
    pub(super) fn path(&self) -> Vec<u8> {
        format!(".git/sharedindex.{}", self.name).into_bytes()
    }

    /// Removes from `paths`, all entries of the shared index, those that are no more.
    pub(super) fn remove_deleted(&self, paths: &mut Vec<Vec<u8>>) {
        let mut deleted = vec![false; paths.len()];
        // What was read before the bitmap makes no sense any more is right all the same.
        let _ = read_bitmap(self.deleted, &mut deleted);
        let mut deleted = deleted.into_iter();
        paths.retain(|_| !deleted.next().unwrap_or_default());
    }
}

/// Reads a compressed bitmap into `bits`: `u32 number of bits ─ u32 number of words ─ words`. A
/// marker word says how many words of equal bits come next, and how many words after the marker
/// are bits as they are, the lowest first.
fn read_bitmap(bytes: &[u8], bits: &mut [bool]) -> Option<()> {
    let (_, rest) = take_u32(bytes)?;
    let (count, rest) = take_u32(rest)?;
    let mut words = rest.as_chunks::<8>().0.iter().take(usize::try_from(count).ok()?);
    let mut at = 0_usize;
    while let Some(marker) = words.next() {
        let marker = u64::from_be_bytes(*marker);
        let equal = usize::try_from(marker >> 1 & 0xffff_ffff).ok()?.checked_mul(64)?;
        let end = at.checked_add(equal)?;
        if marker & 1 == 1 {
            bits.get_mut(at..)?.iter_mut().take(equal).for_each(|bit| *bit = true);
        }
        at = end;
        for _ in 0..marker >> 33 {
            let word = u64::from_be_bytes(*words.next()?);
            let there = bits.get_mut(at..)?.iter_mut().take(64).enumerate();
            there.for_each(|(number, bit)| *bit = word >> number & 1 == 1);
            at = at.checked_add(64)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bitmap(words: &[u64]) -> Vec<u8> {
        let mut bytes = [0_u32, words.len() as u32].map(u32::to_be_bytes).concat();
        words.iter().for_each(|word| bytes.extend(word.to_be_bytes()));
        bytes
    }

    fn read(words: &[u64], count: usize) -> Vec<usize> {
        let mut bits = vec![false; count];
        let _ = read_bitmap(&bitmap(words), &mut bits);
        (0..count).filter(|at| bits[*at]).collect()
    }

    #[test]
    fn bitmaps_have_runs_and_words() {
        let run = |bit: u64, equal: u64, literal: u64| bit | equal << 1 | literal << 33;
        assert_eq!(read(&[run(0, 0, 1), 0b1010], 100), [1, 3]);
        assert_eq!(read(&[run(0, 1, 1), 1, run(1, 1, 0)], 130), [64, 128, 129]);
        assert_eq!(read(&[], 9), [0; 0]);
    }

    #[test]
    fn bitmaps_that_make_no_sense_end() {
        for words in [&[u64::MAX][..], &[u64::MAX - 1], &[1 << 40, 7], &[3, 3, 3]] {
            assert!(read(words, 70).len() <= 70);
        }
        assert_eq!(read_bitmap(b"\0\0", &mut []), None);
    }
}
