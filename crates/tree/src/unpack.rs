//! Reading a tar stream: its entries one after the other, each to [`Beneath`].
//!
//! The stream is hostile: how much an entry may say about itself is bounded, a file is as long
//! as its entry says, and the archive has to end the way archives do, or it was cut.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::Timespec;
use tar::{Entry, EntryType};

use super::beneath::{Beneath, Meta, TreeError};

/// Entries that an archive may have: far over any source tree, and few enough that a disk runs
/// out of neither inodes nor patience.
const MAX_ENTRIES: u64 = 10_000_000;
/// Bytes with which an entry may describe itself: names and extended headers, many times what
/// the longest path takes, and headers and padding around them.
const MAX_DESCRIPTION: u64 = 1 << 20;
/// Bytes of names of directories that wait for their modes and times.
const MAX_DIRECTORY_NAMES: usize = 256 << 20;

/// Why a stream was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The stream is not a tar archive, or ended too early.
    #[error("cannot read the archive")]
    Archive(#[source] io::Error),
    /// The archive has more entries than any real tree.
    #[error("the archive has more than {0} entries")]
    TooManyEntries(u64),
    /// An entry cannot be, or must not be, written.
    #[error("cannot unpack `{name}`")]
    Entry {
        /// The entry's name; bytes that are not UTF-8 are replaced.
        name: String,
        /// Why.
        #[source]
        source: TreeError,
    },
}

impl UnpackError {
    /// Whether there is no room for what the archive holds.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let Self::Entry { source: TreeError::Io(error), .. } = self else { return false };
        matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unpacked {
    /// Number of archive entries.
    pub entries: u64,
    /// Bytes of file contents.
    pub bytes: u64,
}

/// Unpacks the whole of `stream` under `beneath`; names are relative to its top.
///
/// # Errors
/// [`UnpackError`]; what was written before stays.
pub fn unpack(stream: impl Read, beneath: &Beneath) -> Result<Unpacked, UnpackError> {
    let mut writer = Writer::new(beneath);
    read_entries(stream, |path, entry| {
        writer.entry(path, path, entry, |target| Ok(target.to_owned()))
    })?;
    writer.finish()
}

/// Gives every entry of `stream` to `take`, which reads what it wants of it.
pub(crate) fn read_entries<R: Read>(
    stream: R,
    mut take: impl FnMut(&Path, &mut Entry<'_, Metered<R>>) -> Result<(), UnpackError>,
) -> Result<(), UnpackError> {
    let meter = Meter::default();
    let mut archive = tar::Archive::new(Metered { inner: stream, meter: meter.clone() });
    let mut entries = archive.entries().map_err(UnpackError::Archive)?;
    let mut count = 0;
    loop {
        meter.left.set(MAX_DESCRIPTION);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(UnpackError::Archive)?;
        if count == MAX_ENTRIES {
            return Err(UnpackError::TooManyEntries(MAX_ENTRIES));
        }
        count += 1;
        meter.left.set(u64::MAX);
        // Comments for the reader of the archive, such as git's with the commit.
        if entry.header().entry_type() != EntryType::XGlobalHeader {
            let path = entry.path().map_err(UnpackError::Archive)?.into_owned();
            take(&path, &mut entry)?;
        }
        io::copy(&mut entry, &mut io::sink()).map_err(UnpackError::Archive)?;
    }
    if meter.ended.get() {
        let cut = io::Error::new(io::ErrorKind::UnexpectedEof, "the archive was cut");
        return Err(UnpackError::Archive(cut));
    }
    // To the very end, past the padding: only there the stream's own check is made.
    meter.left.set(u64::MAX);
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(UnpackError::Archive)?;
    Ok(())
}

/// What is counted of a stream that is being read.
#[derive(Debug, Clone, Default)]
struct Meter {
    /// Bytes that may still be read.
    left: Rc<Cell<u64>>,
    /// Whether the stream has ended.
    ended: Rc<Cell<bool>>,
}

/// A stream with a meter.
#[derive(Debug)]
pub(crate) struct Metered<R> {
    inner: R,
    meter: Meter,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.meter.ended.set(count == 0 && !buffer.is_empty());
        let left = self.meter.left.get();
        if count as u64 > left {
            let text = "an entry describes itself at too great a length";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if left != u64::MAX {
            self.meter.left.set(left - count as u64);
        }
        Ok(count)
    }
}

/// Writes entries, and remembers the directories among them.
#[derive(Debug)]
pub(crate) struct Writer<'b> {
    beneath: &'b Beneath,
    directories: BTreeMap<PathBuf, Meta>,
    /// Bytes of their names.
    names: usize,
    unpacked: Unpacked,
}

impl<'b> Writer<'b> {
    /// Writes under `beneath`.
    pub(crate) fn new(beneath: &'b Beneath) -> Self {
        let directories = BTreeMap::new();
        Self { beneath, directories, names: 0, unpacked: Unpacked::default() }
    }

    /// Writes an entry that the archive calls `name` at `path`; `place` says where another entry
    /// of the archive is.
    pub(crate) fn entry<R: Read>(
        &mut self,
        name: &Path,
        path: &Path,
        entry: &mut Entry<'_, R>,
        place: impl FnOnce(&Path) -> Result<PathBuf, TreeError>,
    ) -> Result<(), UnpackError> {
        let meta = read_meta(entry).map_err(UnpackError::Archive)?;
        self.unpacked.entries += 1;
        self.write(path, meta, entry, place).map_err(|source| failed(name, source))
    }

    fn write<R: Read>(
        &mut self,
        path: &Path,
        meta: Meta,
        entry: &mut Entry<'_, R>,
        place: impl FnOnce(&Path) -> Result<PathBuf, TreeError>,
    ) -> Result<(), TreeError> {
        match entry.header().entry_type() {
            EntryType::Directory => {
                if self.beneath.directory(path)? {
                    self.names += path.as_os_str().len();
                    if self.names > MAX_DIRECTORY_NAMES {
                        return Err(io::Error::from(io::ErrorKind::OutOfMemory).into());
                    }
                    self.directories.insert(path.to_owned(), meta);
                }
                Ok(())
            }
            EntryType::Regular | EntryType::Continuous => {
                let size = entry.size();
                self.beneath.file(path, meta, size, entry)?;
                self.unpacked.bytes += size;
                Ok(())
            }
            EntryType::Symlink => self.beneath.symlink(path, &link_target(entry)?, meta),
            EntryType::Link => self.beneath.hard_link(path, &place(&link_target(entry)?)?),
            _ => Err(TreeError::Kind),
        }
    }

    /// Gives directories their modes and times, the deepest first: writing into a directory
    /// changes its time and may be against its mode.
    pub(crate) fn finish(self) -> Result<Unpacked, UnpackError> {
        for (path, meta) in self.directories.iter().rev() {
            let finished = self.beneath.finish_directory(path, *meta);
            finished.map_err(|source| failed(path, source))?;
        }
        Ok(self.unpacked)
    }
}

/// The failure of the entry `name`.
pub(crate) fn failed(name: &Path, source: TreeError) -> UnpackError {
    UnpackError::Entry { name: name.display().to_string(), source }
}

fn read_meta<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<Meta> {
    let mode = entry.header().mode()? & 0o7777;
    let seconds = i64::try_from(entry.header().mtime()?).unwrap_or(i64::MAX);
    let mut mtime = Timespec { tv_sec: seconds, tv_nsec: 0 };
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        if extension.key_bytes() == b"mtime" {
            let precise = extension.value().ok().and_then(parse_time);
            mtime = precise.ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "an entry's time is no time")
            })?;
        }
    }
    Ok(Meta { mode, mtime })
}

/// Reads a time of an extended header: decimal seconds since 1970, with a fraction (POSIX.1-2017,
/// pax, "pax Extended Header File Times").
fn parse_time(text: &str) -> Option<Timespec> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let numeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !numeric(whole) || !numeric(fraction) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let nanos: i64 = format!("{:0<9.9}", fraction).parse().ok()?;
    Some(match (negative, nanos) {
        (false, nanos) => Timespec { tv_sec: seconds, tv_nsec: nanos },
        (true, 0) => Timespec { tv_sec: -seconds, tv_nsec: 0 },
        // Nanoseconds count upwards, also before 1970.
        (true, nanos) => Timespec { tv_sec: -seconds - 1, tv_nsec: 1_000_000_000 - nanos },
    })
}

fn link_target<R: Read>(entry: &Entry<'_, R>) -> Result<PathBuf, TreeError> {
    let target = entry.link_name()?.map(|target| target.into_owned());
    target.filter(|target| *target != Path::new("")).ok_or(TreeError::NoTarget)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_fractions() {
        let read = |text| parse_time(text).map(|time| (time.tv_sec, time.tv_nsec));
        assert_eq!(read("12"), Some((12, 0)));
        assert_eq!(read("12.5"), Some((12, 500_000_000)));
        assert_eq!(read("12.0000000019"), Some((12, 1)));
        assert_eq!(read("-1"), Some((-1, 0)));
        assert_eq!(read("-1.25"), Some((-2, 750_000_000)));
        for wrong in ["", ".", "1e3", "--1", "99999999999999999999", "1.x"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
