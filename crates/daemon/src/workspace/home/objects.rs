//! A directory of loose git objects that banger writes itself: contents that come from a stream
//! need no process each, and are never longer than was said.
//!
//! The format is that of gitformat-loose(5): zlib over `<kind> <size>\0` and the bytes.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use banger_tree::Room;
use banger_tree::blob::{ObjectFormat, ObjectHasher, ObjectId, blob_header};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use tempfile::NamedTempFile;

/// Bytes that are copied at once.
const BLOCK: usize = 64 << 10;
/// Longest header: the longest kind, a space, a number of 64 bits and a NUL.
const MAX_HEADER: usize = 32;

/// Longest commit, tree or tag that is taken over, in bytes: a directory of some million files.
/// Git reads these whole.
const MAX_IN_MEMORY: u64 = 256 << 20;

/// Where objects are written.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    directory: PathBuf,
    format: ObjectFormat,
    room: Room,
}

impl Objects {
    /// Objects in `directory`, which is there.
    pub(crate) fn new(directory: PathBuf, format: ObjectFormat) -> Self {
        Self { directory, format, room: Room::all() }
    }

    /// The same, for contents that are somebody else's: as long as `room` lets them.
    pub(crate) fn within(self, room: Room) -> Self {
        Self { room, ..self }
    }

    /// How they are named.
    pub(crate) fn format(&self) -> ObjectFormat {
        self.format
    }

    /// Writes the next `size` bytes of `reader`.
    ///
    /// # Errors
    /// When they cannot be read (`UnexpectedEof` when there are fewer) or written.
    pub(crate) fn write_blob(&self, size: u64, reader: &mut impl Read) -> io::Result<ObjectId> {
        let header = blob_header(size);
        let mut hasher = ObjectHasher::new(self.format, &header);
        let file = self.new_file()?;
        let mut encoder = ZlibEncoder::new(file, Compression::fast());
        encoder.write_all(&header)?;
        let mut left = size;
        let mut block = vec![0; BLOCK.min(usize::try_from(size).unwrap_or(BLOCK))];
        while left > 0 {
            let count = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
            let piece = &mut block[..count];
            reader.read_exact(piece)?;
            hasher.update(piece);
            // As if it could not be compressed, which is for its sender to say.
            self.room.take(encoder.get_ref().as_file(), piece.len() as u64)?;
            encoder.write_all(piece)?;
            left -= piece.len() as u64;
        }
        let id = hasher.finish();
        self.put(&id, encoder.finish()?)?;
        Ok(id)
    }

    /// Keeps the next `size` bytes of `reader` as they are.
    ///
    /// # Errors
    /// As [`write_blob`](Self::write_blob).
    pub(crate) fn keep(&self, size: u64, reader: &mut impl Read) -> io::Result<NamedTempFile> {
        let file = self.new_file()?;
        if self.room.copy(&mut reader.take(size), file.as_file())? < size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(file)
    }

    fn new_file(&self) -> io::Result<NamedTempFile> {
        let file = NamedTempFile::new_in(&self.directory)?;
        self.room.take_entry(file.as_file())?;
        Ok(file)
    }

    /// Opens the contents of one that was written here.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) fn open_blob(&self, id: &ObjectId) -> io::Result<impl Read + use<>> {
        let hex = id.to_string();
        let (directory, name) = hex.split_at(2);
        let file = fs_err::File::open(self.directory.join(directory).join(name))?;
        let mut object = ZlibDecoder::new(io::BufReader::new(file));
        let mut byte = [1];
        while byte != [0] {
            object.read_exact(&mut byte)?;
        }
        Ok(object)
    }

    /// Takes over an object that somebody else wrote, after looking whether it is what `name`
    /// says: the whole of an object of a kind that git has, with that name, which unfolds to
    /// `most` bytes at most. Answers to how many it does.
    ///
    /// # Errors
    /// `InvalidData` when it is not.
    pub(crate) fn adopt(&self, name: &ObjectId, file: NamedTempFile, most: u64) -> io::Result<u64> {
        let size = check(self.format, name, file.reopen()?, most)?;
        self.put(name, file)?;
        Ok(size)
    }

    fn put(&self, id: &ObjectId, file: NamedTempFile) -> io::Result<()> {
        let hex = id.to_string();
        let (directory, name) = hex.split_at(2);
        let directory = self.directory.join(directory);
        match fs_err::create_dir(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        file.persist(directory.join(name)).map(drop).map_err(|error| error.error)
    }
}

fn check(format: ObjectFormat, name: &ObjectId, file: impl Read, most: u64) -> io::Result<u64> {
    let invalid = |text: &'static str| io::Error::new(io::ErrorKind::InvalidData, text);
    let mut object = ZlibDecoder::new(file);
    let mut header = Vec::new();
    while header.last() != Some(&0) {
        let mut byte = [0];
        object.read_exact(&mut byte)?;
        header.push(byte[0]);
        if header.len() > MAX_HEADER {
            return Err(invalid("its header is too long"));
        }
    }
    let text = str::from_utf8(&header[..header.len() - 1]).unwrap_or_default();
    let (kind, size) = text.split_once(' ').ok_or_else(|| invalid("it has no header"))?;
    if !matches!(kind, "blob" | "tree" | "commit" | "tag") {
        return Err(invalid("it is of no kind that git has"));
    }
    let size: u64 = size.parse().map_err(|_| invalid("its size is no number"))?;
    if size > if kind == "blob" { most } else { most.min(MAX_IN_MEMORY) } {
        return Err(invalid("it unfolds to more than can be"));
    }
    let mut left = size;
    let mut hasher = ObjectHasher::new(format, &header);
    let mut block = vec![0; BLOCK];
    loop {
        match object.read(&mut block)? {
            0 if left == 0 => break,
            0 => return Err(invalid("it is shorter than it says")),
            count => {
                // Before the next block is unpacked: what says that it is small stays small.
                left = left.checked_sub(count as u64).ok_or_else(|| invalid("it is too long"))?;
                hasher.update(&block[..count]);
            }
        }
    }
    if hasher.finish() == *name { Ok(size) } else { Err(invalid("it is not what its name says")) }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn loose(bytes: &[u8]) -> NamedTempFile {
        let mut encoder = ZlibEncoder::new(NamedTempFile::new().unwrap(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn git_reads_what_is_written() {
        let top = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            let done = Command::new("git").current_dir(top.path()).args(args).output().unwrap();
            assert!(done.status.success(), "{done:?}");
            done.stdout
        };
        git(&["init", "-q"]);
        let objects = Objects::new(top.path().join(".git/objects"), ObjectFormat::Sha1);
        let long = vec![7; 3 * BLOCK + 1];
        for contents in [&b""[..], b"text\r\n\0", &long] {
            let id = objects.write_blob(contents.len() as u64, &mut &*contents).unwrap();
            // Written twice, it is there once.
            assert_eq!(objects.write_blob(contents.len() as u64, &mut &*contents).unwrap(), id);
            assert_eq!(git(&["cat-file", "blob", &id.to_string()]), contents);
        }
        git(&["fsck", "--strict"]);
        let short = objects.write_blob(9, &mut &b"short"[..]).unwrap_err();
        assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn only_what_its_name_says_is_taken_over() {
        let top = tempfile::tempdir().unwrap();
        let objects = Objects::new(top.path().to_owned(), ObjectFormat::Sha1);
        let name = banger_tree::blob::name_blob(ObjectFormat::Sha1, b"hello\n");
        assert_eq!(objects.adopt(&name, loose(b"blob 6\0hello\n"), 6).unwrap(), 6);
        let refused =
            |bytes: &[u8]| objects.adopt(&name, loose(bytes), 1 << 40).unwrap_err().to_string();
        assert_eq!(refused(b"blob 6\0other\n"), "it is not what its name says");
        assert_eq!(refused(b"blob 6\0hello\nmore"), "it is too long");
        assert_eq!(refused(b"blob 9\0hello\n"), "it is shorter than it says");
        assert_eq!(refused(b"blob x\0hello\n"), "its size is no number");
        assert_eq!(refused(b"blab 6\0hello\n"), "it is of no kind that git has");
        assert_eq!(refused(&[b'b'; 99]), "its header is too long");
        assert_eq!(refused(b"blob\0"), "it has no header");
        // A little that unfolds to a lot is not unfolded to see whether it does.
        for header in [&b"blob 1099511627777\0"[..], b"tree 268435457\0", b"commit 999999999\0"] {
            assert_eq!(refused(header), "it unfolds to more than can be");
        }
    }

    #[test]
    fn the_disk_is_not_filled() {
        let top = tempfile::tempdir().unwrap();
        let objects = Objects::new(top.path().to_owned(), ObjectFormat::Sha1);
        let objects = objects.within(Room::none());
        let size = 1 << 50;
        let written = objects.write_blob(size, &mut io::repeat(0)).map(drop);
        let kept = objects.keep(size, &mut io::repeat(0)).map(drop);
        for ended in [written, kept] {
            assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
        assert_eq!(fs_err::read_dir(top.path()).unwrap().count(), 0);
    }
}
