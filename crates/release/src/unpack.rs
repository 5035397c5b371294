//! From an archive to a directory. The archive was signed, but a mistake of its makers must not
//! write elsewhere, either: plain files and directories beneath the one it is called after, no more.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use flate2::bufread::GzDecoder;
use fs_err as fs;
use sha2::{Digest as _, Sha256};
use tar::EntryType;

use crate::ReleaseError;
use crate::get::Archive;

/// Most bytes that the files of a release may have together. One has some fifty millions.
const MAX_BYTES: u64 = 1 << 30;
/// Most entries.
const MAX_ENTRIES: usize = 10_000;

/// Programs without which a release is none.
const PROGRAMS: [&str; 4] = [
    "bin/banger",
    "lib/banger/banger-agent",
    "lib/banger/banger-supervisor",
    "lib/banger/banger-helper",
];

/// Unpacks `archive` into `into`, a directory that is there and empty. Everything is on the disk
/// when it returns.
///
/// # Errors
/// When the file is not the one that was signed, has what no release has, or cannot be written;
/// what was unpacked until then stays.
pub(crate) fn unpack(archive: &Archive, into: &Path) -> Result<(), ReleaseError> {
    let file = fs::File::open(&archive.path)?;
    // What is installed is hashed as it is read: between two readings it could be replaced.
    let hashing = Hashing { file: BufReader::new(file.into_file()), hash: Sha256::new() };
    let mut tar = tar::Archive::new(GzDecoder::new(BufReader::new(hashing)));
    let mut room = MAX_BYTES;
    for (number, entry) in tar.entries().map_err(ReleaseError::Archive)?.enumerate() {
        let entry = entry.map_err(ReleaseError::Archive)?;
        room = room.checked_sub(entry.size()).ok_or_else(|| refuse(&entry, "too large"))?;
        if number >= MAX_ENTRIES {
            return Err(refuse(&entry, "one of too many"));
        }
        place(entry, &archive.version.directory(), into)?;
    }
    let mut hashing = tar.into_inner().into_inner().into_inner();
    io::copy(&mut hashing, &mut io::sink())?;
    if hashing.hash.finalize()[..] != archive.digest.as_bytes()[..] {
        return Err(ReleaseError::Changed(archive.path.clone()));
    }
    match PROGRAMS.into_iter().find(|program| !into.join(program).is_file()) {
        Some(program) => Err(ReleaseError::Incomplete(program)),
        None => Ok(fs::File::open(into)?.sync_all()?),
    }
}

/// Writes one entry beneath `into`.
fn place<R: Read>(
    mut entry: tar::Entry<'_, R>,
    directory: &str,
    into: &Path,
) -> Result<(), ReleaseError> {
    let path = match inner_path(&entry, directory) {
        Ok(path) => into.join(path),
        Err(what) => return Err(refuse(&entry, what)),
    };
    match entry.header().entry_type() {
        EntryType::Directory => Ok(fs::create_dir_all(&path)?),
        EntryType::Regular => {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            let runs = entry.header().mode().map_err(ReleaseError::Archive)? & 0o100 != 0;
            let mode = if runs { 0o755 } else { 0o644 };
            let named = |error: io::Error| {
                io::Error::new(error.kind(), format!("cannot write `{}`: {error}", path.display()))
            };
            let mut file: File = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&path)
                .map_err(named)?;
            io::copy(&mut entry, &mut file).map_err(named)?;
            file.sync_all().map_err(named)?;
            Ok(())
        }
        _ => Err(refuse(&entry, "neither a file nor a directory")),
    }
}

/// Where an entry goes, relative to the release.
fn inner_path<R: Read>(
    entry: &tar::Entry<'_, R>,
    directory: &str,
) -> Result<PathBuf, &'static str> {
    let path = entry.path().map_err(|_| "no name")?;
    let inner = path.strip_prefix(directory).map_err(|_| "outside of the release's directory")?;
    let plain = inner.components().all(|part| matches!(part, Component::Normal(_)));
    if plain { Ok(inner.to_owned()) } else { Err("a name that leads elsewhere") }
}

fn refuse<R: Read>(entry: &tar::Entry<'_, R>, what: &'static str) -> ReleaseError {
    ReleaseError::Entry { name: String::from_utf8_lossy(&entry.path_bytes()).into_owned(), what }
}

/// A reader that hashes what it reads.
struct Hashing<R> {
    file: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.hash.update(&buffer[..length]);
        Ok(length)
    }
}
