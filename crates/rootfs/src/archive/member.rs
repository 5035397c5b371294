//! What a header block and its extended headers say together.

use std::io::BufRead;

use super::header::Block;
use super::pax::Pax;
use super::reader::append_gnu;
use super::sparse::{Segment, check, pieces};
use super::{ArchiveError, Member, Reader, What};
use crate::tree::{Attributes, Object, shown};

/// Latest time ext4 can hold with 256-byte inodes: 34 bits, the year 2446.
const MAX_SECONDS: i64 = (1 << 34) - 1 - (1 << 31);
/// Earliest time ext4 can hold: the year 1901.
const MIN_SECONDS: i64 = -(1 << 31);
/// The bits of a mode that say what a file is, and those of a socket (`inode(7)`).
const TYPE_BITS: u32 = 0o170_000;
const SOCKET: u32 = 0o140_000;
/// Largest file of ext4: 2³² blocks, less one.
const MAX_SIZE: u64 = (u32::MAX as u64 - 1) * crate::ext4::BLOCK;

impl<R: BufRead> Reader<R> {
    /// The entry of `block`, which began at byte `at`. Leaves the payload ready to be read.
    pub(super) fn member(
        &mut self,
        at: u64,
        block: &Block,
        mut pax: Pax,
    ) -> Result<Member, ArchiveError> {
        let path = pax.sparse.name.take().or(pax.path.take()).unwrap_or_else(|| block.path());
        let field = |what| ArchiveError::Field { name: shown(&path), what };
        let size = pax.size.or(block.size()).ok_or_else(|| field("size"))?;
        if size > MAX_SIZE {
            return Err(field("size"));
        }
        let kind = block.kind();
        // These have no contents, whatever their size says.
        let has_payload = !matches!(kind, b'1'..=b'6');
        self.set_payload(if has_payload { size } else { 0 });

        let mut segments = Vec::new();
        let link = |pax: &mut Pax| {
            let target = pax.link.take().unwrap_or_else(|| block.link());
            if target.is_empty() { Err(field("link target")) } else { Ok(target) }
        };
        let object = match kind {
            // An old archive's directory is a file whose name ends with a slash.
            0 | b'0' | b'7' if path.ends_with(b"/") => Object::Directory,
            0 | b'0' | b'7' | b'S' => {
                if size == 0 && block.mode().is_some_and(|mode| mode & TYPE_BITS == SOCKET) {
                    return Ok(Member { path, what: What::Nothing, segments });
                }
                match self.sparse_map(at, block, pax)? {
                    SparseOr::Plain(unused) => {
                        pax = unused;
                        if size > 0 {
                            segments.push(Segment { offset: 0, length: size });
                        }
                        Object::File { size, source: 0, pieces: None }
                    }
                    SparseOr::Sparse { size, map, pax: rest } => {
                        pax = rest;
                        let map = check(map, size, self.left())
                            .filter(|_| size <= MAX_SIZE)
                            .ok_or_else(|| field("map of a sparse file"))?;
                        let pieces = pieces(&map).ok_or_else(|| field("map of a sparse file"))?;
                        segments = map;
                        Object::File { size, source: 0, pieces: Some(pieces) }
                    }
                }
            }
            b'1' => {
                let what = What::HardLink { target: link(&mut pax)? };
                return Ok(Member { path, what, segments });
            }
            b'2' => Object::Symlink { target: link(&mut pax)? },
            b'3' | b'4' => {
                let (major, minor) = block.device().ok_or_else(|| field("device number"))?;
                if kind == b'3' {
                    Object::CharDevice { major, minor }
                } else {
                    Object::BlockDevice { major, minor }
                }
            }
            b'5' => Object::Directory,
            b'6' => Object::Fifo,
            // A volume's label.
            b'V' => return Ok(Member { path, what: What::Nothing, segments }),
            other => {
                let kind = char::from(other).escape_default().to_string();
                return Err(ArchiveError::Unsupported { name: shown(&path), kind });
            }
        };
        let attributes = attributes(block, pax).map_err(field)?;
        Ok(Member { path, what: What::Object(object, attributes), segments })
    }

    /// The map of a sparse file in any of its forms.
    fn sparse_map(
        &mut self,
        at: u64,
        block: &Block,
        mut pax: Pax,
    ) -> Result<SparseOr, ArchiveError> {
        let broken = |why| ArchiveError::Header { at, why };
        let no_size = || broken("it has no usable size of a sparse file");
        if block.kind() == b'S' {
            let (size, raw, more) = block.gnu_sparse().ok_or_else(no_size)?;
            let mut map = Vec::new();
            append_gnu(&mut map, raw.iter().map(|entry| (&entry.offset[..], &entry.numbytes[..])))
                .ok_or_else(|| broken("it has no usable map of a sparse file"))?;
            if more {
                // They stand between the header and the payload.
                let left = self.left();
                self.set_payload(0);
                self.gnu_sparse_blocks(at, &mut map)?;
                self.set_payload(left);
            }
            return Ok(SparseOr::Sparse { size, map, pax });
        }
        if pax.sparse.map_is_in_payload() {
            let size = pax.sparse.size.ok_or_else(no_size)?;
            let map = self.payload_map(at)?;
            return Ok(SparseOr::Sparse { size, map, pax });
        }
        match pax.sparse.map.take() {
            Some(map) => {
                let size = pax.sparse.size.ok_or_else(no_size)?;
                Ok(SparseOr::Sparse { size, map, pax })
            }
            None => Ok(SparseOr::Plain(pax)),
        }
    }
}

/// A regular file, and the extended headers back.
enum SparseOr {
    Plain(Pax),
    Sparse { size: u64, map: Vec<Segment>, pax: Pax },
}

fn attributes(block: &Block, pax: Pax) -> Result<Attributes, &'static str> {
    let id = |pax: Option<u64>, own: Option<u64>| pax.or(own).and_then(|id| u32::try_from(id).ok());
    let mode = block.mode().ok_or("mode")? & 0o7777;
    let mtime = match pax.mtime {
        Some(time) => time,
        None => (block.mtime().ok_or("modification time")?, 0),
    };
    Ok(Attributes {
        mode: u16::try_from(mode).map_err(|_| "mode")?,
        uid: id(pax.uid, block.uid()).ok_or("owner")?,
        gid: id(pax.gid, block.gid()).ok_or("group")?,
        mtime: clamp_time(mtime),
        xattrs: pax.xattrs,
    })
}

/// The nearest time an inode can hold.
fn clamp_time((seconds, nanoseconds): (i64, u32)) -> (i64, u32) {
    if (MIN_SECONDS..=MAX_SECONDS).contains(&seconds) {
        (seconds, nanoseconds)
    } else {
        (seconds.clamp(MIN_SECONDS, MAX_SECONDS), 0)
    }
}
