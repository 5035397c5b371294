//! Copies of sparse files, and holes where there is nothing but zeroes.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{
    FallocateFlags, SeekFrom, copy_file_range, fallocate, ioctl_ficlone, seek, sendfile,
};
use rustix::io::Errno;

/// What is looked at for being empty at once: the page of most hosts.
const PAGE: usize = 4096;
/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// Makes `to` a copy of `from`, with mode 0600, its holes being holes; on file systems that can, both share
/// what neither changes. When this returns it is on the disk to stay; when it fails there may be a part.
///
/// # Errors
/// When there is something at `to`, or no room.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    copy_unsynced(from, to)?;
    fs_err::File::open(to)?.sync_all()
}

/// As [`copy`], for a copy that nobody needs once the host has gone down.
///
/// # Errors
/// As there.
pub(crate) fn copy_unsynced(from: &Path, to: &Path) -> io::Result<()> {
    copy_file(fs_err::File::open(from)?.file(), to)
}

/// As [`copy_unsynced`], of a file that need not be in a directory any more.
///
/// # Errors
/// As there.
pub(crate) fn copy_file(source: &File, to: &Path) -> io::Result<()> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true).mode(0o600);
    let target = fs_err::OpenOptions::from_options(options).open(to)?;
    if ioctl_ficlone(target.file(), source).is_err() {
        let length = source.metadata()?.len();
        target.set_len(length)?;
        for_each_piece(source, |begin, end| {
            let (mut read, mut written) = (begin, begin);
            while read < end {
                let left = usize::try_from(end - read).unwrap_or(usize::MAX);
                let (near, far) = (Some(&mut read), Some(&mut written));
                if copy_file_range(source, near, target.file(), far, left)? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Writes the pieces of `source` that are no holes to the same places of `target`, which is nothing but a hole, as
/// fast as it goes. `target` is nobody else's meanwhile: where it is written next is changed.
///
/// # Errors
/// When it cannot be read, or there is no room.
pub(crate) fn copy_pieces(source: &File, target: &File) -> io::Result<()> {
    for_each_piece(source, |begin, end| {
        let mut at = begin;
        seek(target, SeekFrom::Start(begin))?;
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            if sendfile(target, source, Some(&mut at), left)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    })
}

/// Writes what `source` has to the same places of `target`, which is nothing but a hole: what is zeroes stays one.
///
/// # Errors
/// When it cannot be read, or there is no room.
pub(crate) fn copy_data(source: &File, target: &File) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    for_each_piece(source, |begin, end| {
        let mut at = begin;
        while at < end {
            let length = CHUNK.min(usize::try_from(end - at).unwrap_or(CHUNK));
            source.read_exact_at(&mut buffer[..length], at)?;
            for (offset, length) in find_runs(&buffer[..length], Pages::Full) {
                target.write_all_at(&buffer[offset..offset + length], at + offset as u64)?;
            }
            at += length as u64;
        }
        Ok(())
    })
}

/// Gives back to the host what of the file is zeroes and not a hole yet.
///
/// # Errors
/// When it cannot be read or written; a file system without holes is none.
pub(crate) fn dig_holes(path: &Path) -> io::Result<()> {
    let file = fs_err::OpenOptions::new().read(true).write(true).open(path)?;
    let mut buffer = vec![0; CHUNK];
    for_each_piece(file.file(), |begin, end| {
        let mut at = begin;
        while at < end {
            let length = CHUNK.min(usize::try_from(end - at).unwrap_or(CHUNK));
            file.file().read_exact_at(&mut buffer[..length], at)?;
            for (offset, length) in find_runs(&buffer[..length], Pages::Empty) {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                match fallocate(file.file(), flags, at + offset as u64, length as u64) {
                    Err(Errno::OPNOTSUPP) => return Ok(()),
                    done => done?,
                }
            }
            at += length as u64;
        }
        Ok(())
    })
}

/// What is in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pages {
    /// Nothing but zeroes.
    Empty,
    /// Something; and what is no whole page.
    Full,
}

/// Runs of such pages: where they begin, and how long they are.
fn find_runs(bytes: &[u8], pages: Pages) -> Vec<(usize, usize)> {
    const ZEROES: &[u8] = &[0; PAGE];
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (index, page) in bytes.chunks(PAGE).enumerate() {
        let found = if page == ZEROES { Pages::Empty } else { Pages::Full };
        if found != pages {
            continue;
        }
        match runs.last_mut() {
            Some((begin, length)) if *begin + *length == index * PAGE => *length += page.len(),
            _ => runs.push((index * PAGE, page.len())),
        }
    }
    runs
}

/// Calls `act` with the begin and end of each piece of the file that is not a hole.
fn for_each_piece(
    file: impl AsFd,
    mut act: impl FnMut(u64, u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut at = 0;
    loop {
        let begin = match seek(&file, SeekFrom::Data(at)) {
            // Nothing but a hole from there on.
            Err(Errno::NXIO) => return Ok(()),
            begin => begin?,
        };
        let end = seek(&file, SeekFrom::Hole(begin))?;
        act(begin, end)?;
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    const LARGE: u64 = 64 << 20;

    #[test]
    fn a_copy_has_the_bytes_and_the_holes() {
        let dir = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| dir.path().join(name));
        let file = fs_err::File::create(&from).unwrap();
        file.set_len(LARGE).unwrap();
        for at in [0, 5 << 20, LARGE - 9] {
            file.file().write_all_at(b"something", at).unwrap();
        }
        copy(&from, &to).unwrap();
        assert!(fs_err::read(&from).unwrap() == fs_err::read(&to).unwrap());
        let metadata = fs_err::metadata(&to).unwrap();
        assert_eq!((metadata.len(), metadata.mode() & 0o777), (LARGE, 0o600));
        assert!(metadata.blocks() * 512 < 1 << 20, "{}", metadata.blocks());
        assert_eq!(copy(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        // Nothing, and nothing but a hole.
        let [empty, hole] = ["empty", "hole"].map(|name| dir.path().join(name));
        fs_err::write(&empty, "").unwrap();
        fs_err::File::create(&hole).unwrap().set_len(LARGE).unwrap();
        for from in [empty, hole] {
            let to = from.with_extension("copy");
            copy(&from, &to).unwrap();
            assert_eq!(fs_err::read(&from).unwrap(), fs_err::read(&to).unwrap());
        }
    }

    #[test]
    fn zeroes_become_holes_and_nothing_else_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory");
        let mut bytes = vec![0; 3 << 20];
        // In the first page, at the end of a chunk, and where the last one is cut.
        for at in [7, CHUNK - 1, (3 << 20) - 2] {
            bytes[at] = 1;
        }
        bytes.truncate((3 << 20) - 1);
        fs_err::write(&path, &bytes).unwrap();
        dig_holes(&path).unwrap();
        assert!(fs_err::read(&path).unwrap() == bytes);
        let metadata = fs_err::metadata(&path).unwrap();
        assert!(metadata.blocks() * 512 <= 4 * PAGE as u64, "{}", metadata.blocks());
    }

    #[test]
    fn only_whole_pages_are_empty() {
        let mut bytes = vec![0; 4 * PAGE + 10];
        bytes[2 * PAGE] = 1;
        assert_eq!(find_runs(&bytes, Pages::Empty), [(0, 2 * PAGE), (3 * PAGE, PAGE)]);
        assert_eq!(find_runs(&bytes, Pages::Full), [(2 * PAGE, PAGE), (4 * PAGE, 10)]);
        assert_eq!(find_runs(&bytes[..10], Pages::Empty), []);
    }
}
