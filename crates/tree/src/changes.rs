//! The stream of what changed in a tree: who knows how it was says so, who has it answers with
//! what is different.
//!
//! ```text
//!  known   ── u32 length of path ─ path ─ u32 mode ─ id ──────────────────▶  one for each path
//!  change  ◀─ u32 length of path ─ path ─ u32 mode ─ u64 size ─ contents ──  one for each difference
//! ```
//!
//! Numbers are big endian, paths any bytes but NUL, relative to the top. Modes are git's: 100644,
//! 100755, 120000 (octal), and 0 for what is gone. The contents of a link are its text.

use std::io::{self, Read, Write};

use crate::blob::{ObjectFormat, ObjectId};

/// Mode of a path at which there is nothing.
pub const GONE: u32 = 0;
/// Mode of a file.
pub const FILE: u32 = 0o100_644;
/// Mode of a file that can be executed.
pub const PROGRAM: u32 = 0o100_755;
/// Mode of a symbolic link.
pub const LINK: u32 = 0o120_000;

/// Longest path, in bytes: `PATH_MAX` of Linux.
const MAX_PATH: usize = 4096;

/// How a path was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Where.
    pub path: Vec<u8>,
    /// What.
    pub mode: u32,
    /// Name of its contents.
    pub id: ObjectId,
}

impl Known {
    /// Appends it to a list.
    pub fn render(&self, list: &mut Vec<u8>) {
        render_path(&self.path, list);
        list.extend_from_slice(&self.mode.to_be_bytes());
        list.extend_from_slice(self.id.as_bytes());
    }

    /// Parses a whole list; none when it is something else.
    #[must_use]
    pub fn parse_list(format: ObjectFormat, mut list: &[u8]) -> Option<Vec<Self>> {
        let mut known = Vec::new();
        while !list.is_empty() {
            let path = read_path(&mut list).ok()??;
            let mode = read_u32(&mut list).ok()?;
            let (id, rest) = list.split_at_checked(format.id_len())?;
            known.push(Self { path, mode, id: ObjectId::from_bytes(format, id)? });
            list = rest;
        }
        Some(known)
    }
}

/// How a path is now; `size` bytes of contents follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub path: Vec<u8>,
    /// What.
    pub mode: u32,
    /// Bytes of contents.
    pub size: u64,
}

impl Change {
    /// Writes it; the caller writes the contents.
    ///
    /// # Errors
    /// When `out` does not take it.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut header = Vec::with_capacity(self.path.len() + 16);
        render_path(&self.path, &mut header);
        header.extend_from_slice(&self.mode.to_be_bytes());
        header.extend_from_slice(&self.size.to_be_bytes());
        out.write_all(&header)
    }

    /// Reads the next one; none at the end. What it says is the other side's word.
    ///
    /// # Errors
    /// When the stream fails, ends inside of it, or carries something else.
    pub fn read(stream: &mut impl Read) -> io::Result<Option<Self>> {
        let Some(path) = read_path(stream)? else { return Ok(None) };
        let mode = read_u32(stream)?;
        let mut size = [0; 8];
        stream.read_exact(&mut size)?;
        let size = u64::from_be_bytes(size);
        if path.is_empty() || path.contains(&0) {
            return Err(invalid("a path is empty or has a byte 0"));
        }
        match mode {
            FILE | PROGRAM => {}
            GONE if size == 0 => {}
            LINK if size <= MAX_PATH as u64 => {}
            GONE | LINK => return Err(invalid("contents do not fit their kind")),
            _ => return Err(invalid("a path is neither a file nor a link")),
        }
        Ok(Some(Self { path, mode, size }))
    }
}

fn render_path(path: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(path.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(path);
}

/// None at the end of the stream.
fn read_path(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    // One byte alone, so that an end between two is told from one inside.
    loop {
        match stream.read(&mut length[..1]) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    stream.read_exact(&mut length[1..])?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_PATH {
        return Err(invalid("a path is too long"));
    }
    let mut path = vec![0; length];
    stream.read_exact(&mut path)?;
    Ok(Some(path))
}

fn read_u32(stream: &mut impl Read) -> io::Result<u32> {
    let mut number = [0; 4];
    stream.read_exact(&mut number)?;
    Ok(u32::from_be_bytes(number))
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::blob::name_blob;

    proptest! {
        #[test]
        fn changes_round_trip(path in prop::collection::vec(1_u8.., 1..64), size: u64) {
            let change = Change { path, mode: FILE, size };
            let mut bytes = Vec::new();
            change.write(&mut bytes).unwrap();
            let mut stream = bytes.as_slice();
            prop_assert_eq!(Change::read(&mut stream).unwrap(), Some(change));
            prop_assert_eq!(Change::read(&mut stream).unwrap(), None);
        }

        #[test]
        fn lists_round_trip(paths in prop::collection::vec(prop::collection::vec(1_u8.., 1..9), 0..9)) {
            let id = name_blob(ObjectFormat::Sha256, b"");
            let known: Vec<_> =
                paths.into_iter().map(|path| Known { path, mode: LINK, id: id.clone() }).collect();
            let mut list = Vec::new();
            known.iter().for_each(|known| known.render(&mut list));
            prop_assert_eq!(Known::parse_list(ObjectFormat::Sha256, &list), Some(known));
        }

        #[test]
        fn anything_else_is_an_error(bytes: Vec<u8>) {
            let mut stream = bytes.as_slice();
            while let Ok(Some(change)) = Change::read(&mut stream) {
                prop_assert!(!change.path.is_empty() && change.path.len() <= MAX_PATH);
            }
            let _ = Known::parse_list(ObjectFormat::Sha1, &bytes);
        }
    }

    #[test]
    fn hostile_changes_are_refused() {
        let read = |path: &[u8], mode, size| {
            let mut bytes = Vec::new();
            Change { path: path.to_vec(), mode, size }.write(&mut bytes).unwrap();
            Change::read(&mut bytes.as_slice()).unwrap_err().to_string()
        };
        assert_eq!(read(b"", FILE, 0), "a path is empty or has a byte 0");
        assert_eq!(read(b"a\0b", FILE, 0), "a path is empty or has a byte 0");
        assert_eq!(read(b"a", GONE, 1), "contents do not fit their kind");
        assert_eq!(read(b"a", LINK, u64::MAX), "contents do not fit their kind");
        assert_eq!(read(b"a", 0o160_000, 0), "a path is neither a file nor a link");
        assert_eq!(read(&[b'a'; MAX_PATH + 1], FILE, 0), "a path is too long");
        let cut = Change::read(&mut &[0, 0, 0, 9, b'a'][..]).unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    }
}
