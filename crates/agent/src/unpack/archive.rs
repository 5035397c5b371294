//! Reading the archive: zstd, then tar, then one call of [`Partial`] an entry.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use banger_proto::guest::Unpacked;
use tar::EntryType;

use super::UnpackError;
use super::tree::{Meta, Partial, TreeError};

/// Entries that an archive may have: far over any source tree, and few enough that the guest's
/// disk runs out of neither inodes nor patience.
const MAX_ENTRIES: u64 = 10_000_000;

/// Unpacks the whole of `stream` into `partial`.
pub(super) fn unpack(stream: impl Read, partial: &Partial) -> Result<Unpacked, UnpackError> {
    let decoder = zstd::stream::read::Decoder::new(stream).map_err(UnpackError::Archive)?;
    let mut archive = tar::Archive::new(decoder);
    let mut unpacked = Unpacked { entries: 0, bytes: 0 };
    let mut directories = BTreeMap::new();
    for entry in archive.entries().map_err(UnpackError::Archive)? {
        let mut entry = entry.map_err(UnpackError::Archive)?;
        if unpacked.entries == MAX_ENTRIES {
            return Err(UnpackError::TooManyEntries(MAX_ENTRIES));
        }
        unpacked.entries += 1;
        let path = entry.path().map_err(UnpackError::Archive)?.into_owned();
        let meta = read_meta(entry.header()).map_err(UnpackError::Archive)?;
        let named = |source| UnpackError::Entry {
            name: path.as_os_str().as_encoded_bytes().escape_ascii().to_string(),
            source,
        };
        match entry.header().entry_type() {
            EntryType::Directory => {
                partial.directory(&path).map_err(named)?;
                directories.insert(path, meta);
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                unpacked.bytes += partial.file(&path, meta, &mut entry).map_err(named)?;
            }
            EntryType::Symlink => {
                let target = target(&entry).map_err(named)?;
                partial.symlink(&path, &target, meta).map_err(named)?;
            }
            EntryType::Link => {
                let target = target(&entry).map_err(named)?;
                partial.hard_link(&path, &target).map_err(named)?;
            }
            // Comments for the reader of the archive, such as git's with the commit.
            EntryType::XGlobalHeader => {}
            _ => return Err(named(TreeError::Kind)),
        }
    }
    // Writing into a directory changes its time and may be against its mode, so those come last,
    // the deepest first.
    for (path, meta) in directories.iter().rev() {
        partial
            .finish_directory(path, *meta)
            .map_err(|source| UnpackError::Entry { name: path.display().to_string(), source })?;
    }
    // To the very end, past the padding: only there the checksum of the stream is verified.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(UnpackError::Archive)?;
    Ok(unpacked)
}

fn read_meta(header: &tar::Header) -> io::Result<Meta> {
    let seconds = i64::try_from(header.mtime()?).unwrap_or(i64::MAX);
    Ok(Meta { mode: header.mode()? & 0o7777, mtime: seconds })
}

fn target<R: Read>(entry: &tar::Entry<'_, R>) -> Result<std::path::PathBuf, TreeError> {
    let target = entry.link_name()?.map(|target| target.into_owned());
    target.filter(|target| *target != Path::new("")).ok_or(TreeError::NoTarget)
}
