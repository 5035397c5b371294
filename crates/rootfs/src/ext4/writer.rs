//! Writing what a plan says.

use std::fs::File;
use std::io::BufRead;

use super::geometry::RESERVED_INODES;
use super::plan::{Place, Plan, inode_number};
use super::sink::Sink;
use super::superblock::{
    render_block_bitmap, render_descriptors, render_inode_bitmap, render_superblock,
};
use super::{BLOCK, BLOCK_LEN, Ext4Error, directory, extents, inode, xattr};
use crate::archive::Segment;
use crate::tree::Kind;

/// A file system with all its metadata, waiting for the files' contents.
#[derive(Debug)]
pub struct Writer<'a> {
    plan: &'a Plan<'a>,
    sink: Sink<'a>,
    /// The first of the plan's places that may still need contents.
    next: usize,
}

impl<'a> Plan<'a> {
    /// Writes all metadata to `file`, which must be empty, and is made as long as the file
    /// system, with holes where nothing is.
    ///
    /// # Errors
    /// When writing fails.
    pub fn start(&'a self, file: &'a File) -> Result<Writer<'a>, Ext4Error> {
        let sink = Sink::new(file, self.size()).map_err(Ext4Error::Write)?;
        let mut writer = Writer { plan: self, sink, next: 0 };
        writer.put_fixed().map_err(Ext4Error::Write)?;
        for &place in &self.places {
            writer.put_metadata(place).map_err(Ext4Error::Write)?;
        }
        Ok(writer)
    }
}

impl Writer<'_> {
    /// The number of the contents that have to come next; `None` when all have come.
    pub fn next_source(&mut self) -> Option<u32> {
        while let Some(place) = self.plan.places.get(self.next) {
            if let Kind::File { size: 1.., source, .. } = self.plan.tree.node(place.node).kind {
                return Some(source);
            }
            self.next += 1;
        }
        None
    }

    /// Writes the contents of the file `source`, which has to be [`Writer::next_source`]: the bytes
    /// of `segments`, one after the other, as many as were declared.
    ///
    /// # Errors
    /// When there is no such file, `contents` are too short, or reading or writing fails.
    pub fn fill(
        &mut self,
        source: u32,
        segments: &[Segment],
        contents: &mut impl BufRead,
    ) -> Result<(), Ext4Error> {
        let place = match self.next_source() {
            Some(next) if next == source => self.plan.places[self.next],
            Some(next) if next < source => return Err(Ext4Error::Missing(next)),
            _ => return Err(Ext4Error::Stray(source)),
        };
        self.next += 1;
        let Kind::File { size, pieces, .. } = self.plan.tree.node(place.node).kind else {
            return Err(Ext4Error::Stray(source));
        };
        let start = u64::from(self.plan.geometry.contents + place.contents) * BLOCK;
        let mut blocks = Blocks::new(start, self.plan.tree.pieces(pieces));
        for segment in segments {
            if segment.offset.checked_add(segment.length).is_none_or(|end| end > size) {
                return Err(Ext4Error::Stray(source));
            }
            let mut at = segment.offset;
            let mut left = segment.length;
            while left > 0 {
                let bytes = contents.fill_buf().map_err(Ext4Error::Contents)?;
                if bytes.is_empty() {
                    return Err(Ext4Error::Contents(std::io::ErrorKind::UnexpectedEof.into()));
                }
                let (offset, room) = blocks.locate(at).ok_or(Ext4Error::Stray(source))?;
                let most = usize::try_from(left.min(room)).unwrap_or(usize::MAX);
                let bytes = &bytes[..bytes.len().min(most)];
                self.sink.put(offset, bytes).map_err(Ext4Error::Write)?;
                let count = bytes.len();
                contents.consume(count);
                at += count as u64;
                left -= count as u64;
            }
        }
        Ok(())
    }

    /// Ends the work. Nothing is synced to the disk.
    ///
    /// # Errors
    /// When a declared file got no contents, or writing fails.
    pub fn finish(mut self) -> Result<(), Ext4Error> {
        match self.next_source() {
            Some(source) => Err(Ext4Error::Missing(source)),
            None => self.sink.flush().map_err(Ext4Error::Write),
        }
    }

    /// Everything that has its place whatever the files are.
    fn put_fixed(&mut self) -> std::io::Result<()> {
        let plan = self.plan;
        let geometry = plan.geometry;
        self.put(0, &render_superblock(plan))?;
        self.put(1, &render_descriptors(plan))?;
        for group in 0..geometry.groups {
            self.put(geometry.block_bitmaps + group, &render_block_bitmap(plan, group))?;
        }
        for group in 0..geometry.groups {
            self.put(geometry.inode_bitmaps + group, &render_inode_bitmap(plan, group))?;
        }
        // The tables of all groups are one after the other, so this is one long table.
        let mut at = u64::from(geometry.tables) * BLOCK;
        let mut put = |bytes: &[u8; inode::INODE]| {
            at += inode::INODE as u64;
            self.sink.put(at - inode::INODE as u64, bytes)
        };
        for number in 1..=RESERVED_INODES {
            if number == inode_number(0) {
                put(&inode::render(plan, plan.places[0]))?;
            } else {
                put(&inode::render_reserved(plan, number))?;
            }
        }
        plan.places[1..].iter().try_for_each(|&place| put(&inode::render(plan, place)))
    }

    /// The blocks of one file that are not contents.
    fn put_metadata(&mut self, place: Place) -> std::io::Result<()> {
        let plan = self.plan;
        let mut at = plan.geometry.metadata + place.metadata;
        let attributes = plan.tree.xattrs(place.node);
        if !attributes.is_empty()
            && let Ok(split) = xattr::split(attributes)
            && split.needs_block()
        {
            self.put(at, &split.render_block(at, plan.fs_seed))?;
            at += 1;
        }
        match plan.tree.node(place.node).kind {
            Kind::Directory(own) => {
                directory::render(plan, place.node, own.parent, place.contents, |block| {
                    at += 1;
                    self.put(at - 1, block)
                })
            }
            Kind::File { size, pieces, .. } => {
                let pieces = plan.tree.pieces(pieces);
                if extents::measure(size, pieces).1 == 0 {
                    return Ok(());
                }
                let contents = plan.geometry.contents + place.contents;
                let seed = plan.inode_seed(plan.inode_of(place.node));
                let tree = extents::render(size, pieces, contents, at, seed);
                (at..).zip(&tree.blocks).try_for_each(|(at, block)| self.put(at, block))
            }
            Kind::Symlink(target) if !inode::is_short(plan.tree.text(target)) => {
                let mut block = [0; BLOCK_LEN];
                let target = plan.tree.text(target);
                block[..target.len()].copy_from_slice(target);
                self.put(at, &block)
            }
            _ => Ok(()),
        }
    }

    fn put(&mut self, block: u32, bytes: &[u8]) -> std::io::Result<()> {
        self.sink.put(u64::from(block) * BLOCK, bytes)
    }
}

/// Where in the image the bytes of one file are, asked for in ascending order.
struct Blocks<'a> {
    /// Where the current piece begins in the image.
    start: u64,
    pieces: Option<&'a [crate::tree::Piece]>,
}

impl<'a> Blocks<'a> {
    fn new(start: u64, pieces: Option<&'a [crate::tree::Piece]>) -> Self {
        Self { start, pieces }
    }

    /// The place of byte `at` of the file, and how many bytes follow it without a hole.
    fn locate(&mut self, at: u64) -> Option<(u64, u64)> {
        let Some(pieces) = &mut self.pieces else { return Some((self.start + at, u64::MAX)) };
        loop {
            let (piece, rest) = pieces.split_first()?;
            let first = u64::from(piece.first) * BLOCK;
            let length = u64::from(piece.count) * BLOCK;
            if at < first + length {
                let into = at.checked_sub(first)?;
                return Some((self.start + into, length - into));
            }
            self.start += length;
            *pieces = rest;
        }
    }
}
