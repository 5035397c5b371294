//! Bundles: `.tar.zst` files that hold exactly the files they are meant to hold.
//!
//! An image's bundle is `rootfs.ext4` and `manifest.json`, a kernel's `vmlinux`, `manifest.json` and
//! possibly `modules.cpio`. Which names are allowed, how large each may be and which must be there is
//! for the caller to say, with [`Member`]s:
//!
//! ```text
//! write_bundle(&[("manifest.json", path), ("rootfs.ext4", path)], file) ─▶ Written { sha256, size }
//! unpack_bundle(bundle, &[Member …], directory, watch)                  ─▶ the directory, with just these files
//! ```
//!
//! - Reading is strict: regular files of the allowed names, each once, in any order, and nothing else;
//!   no extended headers, no paths, no links. On any failure, or when `watch` says stop, the directory
//!   is gone again. It is only there whole.
//! - Holes stay holes: blocks of zeros are not written.
//! - The same files give the same bundle.
//!
//! Not responsible for where bundles come from: that the file is the one that was promised (its
//! SHA-256) is checked before it is unpacked.

use std::collections::BTreeSet;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};

use crate::digest::HashingWriter;

/// How hard zstd tries. What it makes is made once and fetched often; higher levels cost minutes for
/// an image and save some percent.
const LEVEL: i32 = 12;
/// Largest window a bundle may ask for, as a power of two: 64 MiB of memory.
const WINDOW_LOG_MAX: u32 = 26;
/// Blocks of this many bytes become holes where they are zero: the block size of ext4.
const BLOCK: usize = 4096;
/// Bytes copied at once, a multiple of [`BLOCK`].
const CHUNK: usize = 1 << 20;
/// Zeros that may follow the last member: tar's end mark, and padding to its records.
const MAX_PADDING: u64 = 64 << 10;
/// Mode of every file in a bundle.
const MODE: u32 = 0o644;

/// A file that a bundle may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its name, without any directory.
    pub name: &'static str,
    /// Bytes it may have at most.
    pub limit: u64,
    /// Whether a bundle without it is refused.
    pub needed: bool,
}

/// A bundle that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// SHA-256 of the bundle.
    pub sha256: [u8; 32],
    /// Length of the bundle in bytes.
    pub size: u64,
}

/// Why a bundle cannot be unpacked or written.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It cannot be read, or is no `.tar.zst`.
    #[error("cannot read the bundle `{bundle}`")]
    Read {
        /// Its path.
        bundle: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something that does not belong into it.
    #[error("the bundle `{bundle}` holds `{entry}`, which does not belong into it")]
    Unexpected {
        /// Its path.
        bundle: PathBuf,
        /// Name of the entry.
        entry: String,
    },
    /// An entry that is no regular file.
    #[error("`{entry}` in the bundle `{bundle}` is no regular file")]
    NotRegular {
        /// Its path.
        bundle: PathBuf,
        /// Name of the entry.
        entry: String,
    },
    /// The same name twice.
    #[error("the bundle `{bundle}` holds `{entry}` twice")]
    Twice {
        /// Its path.
        bundle: PathBuf,
        /// Name of the entry.
        entry: String,
    },
    /// A file that is too large.
    #[error(
        "`{entry}` in the bundle `{bundle}` has {size} bytes, more than the {limit} it may have"
    )]
    TooLarge {
        /// Its path.
        bundle: PathBuf,
        /// Name of the entry.
        entry: String,
        /// Its bytes.
        size: u64,
        /// Bytes it may have.
        limit: u64,
    },
    /// A file that must be there.
    #[error("the bundle `{bundle}` lacks `{entry}`")]
    Missing {
        /// Its path.
        bundle: PathBuf,
        /// Name of the file.
        entry: &'static str,
    },
    /// Something after the end.
    #[error("the bundle `{bundle}` goes on after its end")]
    Trailing {
        /// Its path.
        bundle: PathBuf,
    },
    /// Whoever watched said stop.
    #[error("unpacking the bundle `{bundle}` was stopped")]
    Stopped {
        /// Its path.
        bundle: PathBuf,
    },
    /// A file outside the bundle cannot be made, read or written; the text says which.
    #[error(transparent)]
    File(#[from] io::Error),
}

/// Writes the files `members` (name in the bundle, path) in this order.
///
/// # Errors
/// When a file cannot be read, changes its length meanwhile, or `to` cannot be written.
pub fn write_bundle(members: &[(&str, &Path)], to: impl Write) -> Result<Written, BundleError> {
    let mut archive = tar::Builder::new(zstd::Encoder::new(HashingWriter::new(to), LEVEL)?);
    for (name, path) in members {
        let file = fs_err::File::open(path)?;
        let size = file.metadata()?.len();
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(MODE);
        header.set_size(size);
        header.set_path(name)?;
        header.set_cksum();
        // A file that grows is cut; one that shrinks must not shift what follows it.
        let mut contents = Counted { inner: file.take(size), count: 0 };
        archive.append(&header, &mut contents)?;
        if contents.count != size {
            let text = format!("`{}` changed while it was read", path.display());
            return Err(io::Error::other(text).into());
        }
    }
    let written = archive.into_inner()?.finish()?;
    let size = written.count();
    let (sha256, mut to) = written.finish();
    to.flush()?;
    Ok(Written { sha256, size })
}

struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

/// Unpacks the file `bundle`, which may hold `members` and nothing else, into the new directory
/// `into`. `watch` is told the bytes written so far, again and again, and may end the work.
///
/// # Errors
/// When `into` exists, the bundle breaks a rule, or the work was stopped; then `into` is as before.
pub fn unpack_bundle(
    bundle: &Path,
    members: &[Member],
    into: &Path,
    watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<(), BundleError> {
    fs_err::create_dir(into)?;
    let unpacked = Unpacking { bundle, members, into, seen: BTreeSet::new(), done: 0, watch }.run();
    if unpacked.is_err() {
        for member in members {
            // Most were never made; what cannot be removed shows in the directory's removal.
            let _ = fs_err::remove_file(into.join(member.name));
        }
        // The failure that led here says more than one of cleaning up after it.
        let _ = fs_err::remove_dir(into);
    }
    unpacked
}

struct Unpacking<'a> {
    bundle: &'a Path,
    members: &'a [Member],
    into: &'a Path,
    seen: BTreeSet<&'static str>,
    done: u64,
    watch: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
}

impl Unpacking<'_> {
    fn run(mut self) -> Result<(), BundleError> {
        let file = BufReader::new(fs_err::File::open(self.bundle)?);
        let mut decoder = zstd::Decoder::with_buffer(file)?;
        decoder.window_log_max(WINDOW_LOG_MAX)?;
        let mut archive = tar::Archive::new(decoder);
        // Raw: an extended header is an entry like any other, and refused as such.
        for entry in archive.entries().map_err(|e| self.unreadable(e))?.raw(true) {
            let mut entry = entry.map_err(|source| self.unreadable(source))?;
            self.unpack(&mut entry)?;
        }
        let mut rest = archive.into_inner().take(MAX_PADDING + 1);
        let mut padding = Vec::new();
        rest.read_to_end(&mut padding).map_err(|source| self.unreadable(source))?;
        if padding.len() as u64 > MAX_PADDING || !is_zero(&padding) {
            return Err(BundleError::Trailing { bundle: self.bundle() });
        }
        match self.members.iter().find(|member| member.needed && !self.seen.contains(member.name)) {
            Some(member) => Err(BundleError::Missing { bundle: self.bundle(), entry: member.name }),
            None => Ok(()),
        }
    }

    fn unpack(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), BundleError> {
        let name = entry.path_bytes().into_owned();
        let shown = || name.escape_ascii().to_string();
        let size = entry.size();
        let member = self.members.iter().find(|member| member.name.as_bytes() == name);
        let Some(member) = member else {
            return Err(BundleError::Unexpected { bundle: self.bundle(), entry: shown() });
        };
        if !matches!(entry.header().entry_type(), EntryType::Regular) {
            return Err(BundleError::NotRegular { bundle: self.bundle(), entry: shown() });
        }
        if !self.seen.insert(member.name) {
            return Err(BundleError::Twice { bundle: self.bundle(), entry: shown() });
        }
        if size > member.limit {
            let limit = member.limit;
            return Err(BundleError::TooLarge {
                bundle: self.bundle(),
                entry: shown(),
                size,
                limit,
            });
        }
        let mut file = fs_err::File::create_new(self.into.join(member.name))?;
        self.copy(entry, &mut file, size)?;
        file.set_len(size)?;
        Ok(())
    }

    /// Copies `size` bytes; blocks of zeros are skipped.
    fn copy(
        &mut self,
        from: &mut impl Read,
        to: &mut fs_err::File,
        size: u64,
    ) -> Result<(), BundleError> {
        let mut chunk = vec![0; CHUNK];
        let mut left = size;
        while left > 0 {
            let count = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            from.read_exact(&mut chunk[..count]).map_err(|source| self.unreadable(source))?;
            write_sparse(to, &chunk[..count])?;
            left -= count as u64;
            self.done += count as u64;
            if (self.watch)(self.done).is_break() {
                return Err(BundleError::Stopped { bundle: self.bundle() });
            }
        }
        Ok(())
    }

    fn bundle(&self) -> PathBuf {
        self.bundle.to_owned()
    }

    fn unreadable(&self, source: io::Error) -> BundleError {
        BundleError::Read { bundle: self.bundle(), source }
    }
}

/// Writes what of `data` is not zero, in runs of blocks; the position is after it all.
fn write_sparse(to: &mut (impl Write + Seek), data: &[u8]) -> io::Result<()> {
    let mut rest = data;
    while !rest.is_empty() {
        let zeros = run(rest, true);
        to.seek(SeekFrom::Current(i64::try_from(zeros).map_err(io::Error::other)?))?;
        let filled = run(&rest[zeros..], false);
        to.write_all(&rest[zeros..zeros + filled])?;
        rest = &rest[zeros + filled..];
    }
    Ok(())
}

/// Bytes at the start of `data` in blocks that are all zero, or are not.
fn run(data: &[u8], zero: bool) -> usize {
    data.chunks(BLOCK).take_while(|block| is_zero(block) == zero).map(<[u8]>::len).sum()
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests;
