//! What kind of archive a tar file is, compressed or not.
//!
//! The members are looked at until it is clear. A root file system is recognised by its first
//! directories, so that next to nothing of it is read; an archive of an image is small in members
//! and names its documents somewhere.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use banger_rootfs::stream::{self, Decoder};
use tar::Archive;

use super::ArchiveError;
use super::members::Bounded;
use super::{docker, layout};
use crate::artifact::Cancelled;

/// Bytes read at once.
const BUFFER: usize = 1 << 20;
/// Bytes of headers before a member.
const MAX_HEADERS: u64 = 1 << 20;
/// Bytes of the largest archive that is decompressed: as much as an image may hold.
const MAX_DECOMPRESSED: u64 = 64 << 30;
/// Directories at the top of a root file system and of nothing else.
const ROOT_DIRECTORIES: [&str; 20] = [
    "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "media", "mnt", "opt", "proc",
    "root", "run", "sbin", "srv", "sys", "tmp", "usr", "var",
];

/// What a tar file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A root file system.
    Rootfs,
    /// An image with its documents.
    Image {
        /// Whether the tar file is compressed as a whole.
        compressed: bool,
    },
}

/// Looks at the tar file at `path`.
///
/// # Errors
/// When it cannot be read or nobody waits any more.
pub(super) fn observe_kind(
    path: &Path,
    archive: &str,
    cancelled: &Cancelled,
) -> Result<Kind, ArchiveError> {
    let broken = |source| ArchiveError::Read { archive: archive.to_owned(), source };
    let (compressed, stream) = open(path).map_err(broken)?;
    let (reader, allowance) = Bounded::new(stream);
    let mut tar = Archive::new(reader);
    let mut entries = tar.entries().map_err(broken)?;
    let mut first = true;
    let mut size = 0_u64;
    let mut read = 0_u64;
    loop {
        // What is left of the last member is read on the way to the next.
        allowance.set(size.saturating_add(MAX_HEADERS));
        let Some(entry) = entries.next() else { return Ok(Kind::Rootfs) };
        let entry = match entry {
            Ok(entry) => entry,
            // What its first bytes say to who takes them for a tar's is of no use.
            Err(_) if first => return Err(no_archive(archive)),
            Err(error) => return Err(broken(error)),
        };
        first = false;
        if cancelled.flow().is_break() {
            return Err(ArchiveError::Cancelled { archive: archive.to_owned() });
        }
        let name = entry.path_bytes();
        let name = name.strip_prefix(b"./").unwrap_or(&name);
        let top = name.split(|byte| *byte == b'/').next().unwrap_or_default();
        if ROOT_DIRECTORIES.iter().any(|known| known.as_bytes() == top) {
            return Ok(Kind::Rootfs);
        }
        if [layout::INDEX, docker::MANIFEST].iter().any(|known| known.as_bytes() == name) {
            return Ok(Kind::Image { compressed });
        }
        size = entry.size();
        read = read.saturating_add(size);
        if read > MAX_DECOMPRESSED {
            return Err(too_large(archive));
        }
    }
}

/// Writes the tar file at `path` without its compression to the new file `to`.
///
/// # Errors
/// When it cannot be read or written, is too large, or nobody waits any more.
pub(super) fn decompress(
    path: &Path,
    archive: &str,
    to: &Path,
    cancelled: &Cancelled,
) -> Result<(), ArchiveError> {
    let broken = |source| ArchiveError::Read { archive: archive.to_owned(), source };
    let (_, mut stream) = open(path).map_err(broken)?;
    let mut file = BufWriter::new(fs_err::File::create_new(to).map_err(broken)?);
    let mut written = 0_u64;
    loop {
        if cancelled.flow().is_break() {
            return Err(ArchiveError::Cancelled { archive: archive.to_owned() });
        }
        let mut chunk = stream.by_ref().take(BUFFER as u64);
        let count = io::copy(&mut chunk, &mut file).map_err(broken)?;
        written += count;
        if count == 0 {
            return file.flush().map_err(broken);
        }
        if written > MAX_DECOMPRESSED {
            return Err(too_large(archive));
        }
    }
}

fn open(path: &Path) -> io::Result<(bool, Decoder)> {
    let file = fs_err::File::open(path)?.into_file();
    let mut reader = BufReader::with_capacity(BUFFER, file);
    let compression = stream::recognise(&mut reader)?;
    match stream::open(compression, reader) {
        Some(decoder) => Ok((compression.is_some(), decoder?)),
        None => {
            let name = compression.map(|kind| format!("{kind:?} ")).unwrap_or_default();
            let text = format!("{name}compression is not supported here");
            Err(io::Error::new(io::ErrorKind::Unsupported, text))
        }
    }
}

fn no_archive(archive: &str) -> ArchiveError {
    let what = "is no tar archive, nor a directory with an image".to_owned();
    ArchiveError::Archive { archive: archive.to_owned(), what }
}

fn too_large(archive: &str) -> ArchiveError {
    let what = format!("holds more than {} GiB", MAX_DECOMPRESSED >> 30);
    ArchiveError::Archive { archive: archive.to_owned(), what }
}
