//! A file or a tree becomes a tar stream, as it is read: names of any bytes and length, modes,
//! times to the nanosecond, links as links. Owners are not told; hard links are files of their
//! own.
//!
//! What changes meanwhile does not break the stream: a file is as long as it was when it was
//! opened, what has gone is left out, and both are noted.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use banger_proto::guest::Copied;
use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat};
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};

use super::beneath::open_beneath;
use super::path::{ends_in_slash, name_of, parent_of};

/// Bytes that are written at once.
const BUFFER: usize = 64 << 10;
/// Notes that are kept; of more only the number is told.
const MAX_NOTES: usize = 20;
/// Bytes of a name in a note.
const MAX_NOTED_NAME: usize = 200;

/// File systems that hold no files but what a kernel says about itself (statfs(2)): proc, sysfs,
/// cgroup2, debugfs, tracefs, securityfs, bpf, devpts.
const KERNEL_FILE_SYSTEMS: [u64; 8] =
    [0x9fa0, 0x6265_6572, 0x6367_7270, 0x6462_6720, 0x7472_6163, 0x7363_6673, 0xcafe_4a11, 0x1cd1];

/// Why a stream is not whole.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Something cannot be read.
    #[error("cannot read `{name}`")]
    Read {
        /// Its name, from the top on; bytes that are not UTF-8 are replaced.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The stream cannot be written: whoever wanted it has gone.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
}

/// What is packed.
#[derive(Debug)]
pub struct Source {
    /// An opened directory.
    directory: OwnedFd,
    /// What is packed of it; all of it without.
    name: Option<OsString>,
    /// What the archive calls all of it: `.` without.
    called: Option<OsString>,
}

impl Source {
    /// What `path` names, a link itself unless a slash follows; `open` opens a directory by its
    /// path. `.`, `..` and `/` at the end mean the contents of a directory.
    ///
    /// # Errors
    /// When there is no such thing, or `open` fails.
    pub fn find(path: &Path, open: impl Fn(&Path) -> io::Result<OwnedFd>) -> io::Result<Self> {
        let called = name_of(path).map(ToOwned::to_owned);
        if called.is_none() || ends_in_slash(path) {
            return Ok(Self { directory: open(path)?, name: None, called });
        }
        let directory = open(parent_of(path))?;
        if let Some(name) = &called {
            rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(Self { directory, name: called, called: None })
    }
}

/// What a copy is to be other than its source.
#[derive(Debug, Clone, Copy, Default)]
pub struct Packing {
    /// Links are left out, and noted.
    pub skip_links: bool,
    /// Mode of the top, where that is a file.
    pub top_mode: Option<u32>,
}

/// Writes `source` to `out`. What was left out or changed is in the notes of what is returned.
///
/// # Errors
/// [`PackError`]; the archive lacks its end then.
pub fn pack(source: &Source, out: impl Write) -> Result<Copied, PackError> {
    pack_as(source, out, Packing::default())
}

/// Writes `source` to `out` as `packing` says, else as [`pack`] does.
///
/// # Errors
/// As [`pack`].
pub fn pack_as(source: &Source, out: impl Write, packing: Packing) -> Result<Copied, PackError> {
    let out = Cuttable { inner: io::BufWriter::with_capacity(BUFFER, out), cut: false };
    let copied = Copied { entries: 0, bytes: 0, notes: Vec::new() };
    let mut packer = Packer { source, packing, tar: Builder::new(out), copied, more_notes: 0 };
    if let Err(error) = packer.add_all() {
        // The library would end the archive as if all were well.
        packer.tar.get_mut().cut = true;
        return Err(error);
    }
    packer.finish()
}

/// A path that is still to be packed, and the device that its directory is on.
type Ahead = Vec<(PathBuf, Option<u64>)>;

struct Packer<'s, W: Write> {
    source: &'s Source,
    packing: Packing,
    tar: Builder<Cuttable<io::BufWriter<W>>>,
    copied: Copied,
    more_notes: u64,
}

impl<W: Write> Packer<'_, W> {
    fn add_all(&mut self) -> Result<(), PackError> {
        let top = self.source.name.as_deref().map(PathBuf::from).unwrap_or_default();
        // What lies ahead, the next last.
        let mut ahead = vec![(top, None)];
        while let Some((path, device)) = ahead.pop() {
            self.add(&path, device, &mut ahead)?;
        }
        Ok(())
    }

    /// Adds what `path` names; what is in a directory is put ahead.
    fn add(&mut self, path: &Path, above: Option<u64>, ahead: &mut Ahead) -> Result<(), PackError> {
        let failed = |errno: Errno| unreadable(path, errno.into());
        let opened = open_beneath(&self.source.directory, path, OFlags::PATH);
        let place = match opened {
            // The top was there when it was asked for; and it must not be missing in silence.
            Err(Errno::NOENT) if above.is_some() => {
                self.note(path, "it has gone meanwhile");
                return Ok(());
            }
            other => other.map_err(failed)?,
        };
        let stat = rustix::fs::fstat(&place).map_err(failed)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                if above.is_some_and(|above| above != stat.st_dev) && is_of_kernel(&place) {
                    self.note(path, "it is the kernel's, and its contents no files");
                    return self.append(path, EntryType::Directory, &stat, 0, io::empty());
                }
                let directory = self.open(path, OFlags::DIRECTORY)?;
                self.append(path, EntryType::Directory, &stat, 0, io::empty())?;
                let names = list(&directory).map_err(failed)?;
                let inside = names.into_iter().rev();
                ahead.extend(inside.map(|name| (path.join(name), Some(stat.st_dev))));
                Ok(())
            }
            FileType::RegularFile => self.add_file(path),
            FileType::Symlink if self.packing.skip_links => self.skip(path, "link"),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&place, "", Vec::new()).map_err(failed)?;
                let target = OsString::from_vec(target.into_bytes());
                self.append_link(path, &stat, Path::new(&target))
            }
            FileType::Fifo => self.skip(path, "pipe"),
            FileType::Socket => self.skip(path, "socket"),
            _ => self.skip(path, "device"),
        }
    }

    fn skip(&mut self, path: &Path, kind: &str) -> Result<(), PackError> {
        self.note(path, &format!("it is a {kind}, which is not copied"));
        Ok(())
    }

    fn add_file(&mut self, path: &Path) -> Result<(), PackError> {
        let failed = |errno: Errno| unreadable(path, errno.into());
        // Should a pipe have taken its place, it is not waited for.
        let file = self.open(path, OFlags::NONBLOCK)?;
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return self.skip(path, "file no more");
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let mut contents =
            Exactly { file: File::from(file), left: size, error: None, short: false };
        let appended = self.append(path, EntryType::Regular, &stat, size, &mut contents);
        if let Some(error) = contents.error {
            return Err(unreadable(path, error));
        }
        appended?;
        self.copied.bytes += size;
        let grown = contents.file.read(&mut [0]).is_ok_and(|more| more > 0);
        if contents.short {
            self.note(path, "it was cut while it was read; its copy ends in zeros");
        } else if grown {
            self.note(path, "it was longer in the end; its copy has what it had at first");
        }
        Ok(())
    }

    fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, PackError> {
        let opened = open_beneath(&self.source.directory, path, OFlags::RDONLY | flags);
        opened.map_err(|errno| unreadable(path, errno.into()))
    }

    fn append(
        &mut self,
        path: &Path,
        kind: EntryType,
        stat: &Stat,
        size: u64,
        contents: impl Read,
    ) -> Result<(), PackError> {
        let mut header = self.header(kind, stat)?;
        header.set_size(size);
        // Whatever is in a directory has a longer name.
        let is_top = self.source.name.as_deref().is_some_and(|top| path.as_os_str() == top);
        if let Some(mode) = self.packing.top_mode.filter(|_| is_top && kind == EntryType::Regular) {
            header.set_mode(mode);
        }
        self.tar.append_data(&mut header, self.called(path), contents).map_err(PackError::Write)?;
        self.copied.entries += 1;
        Ok(())
    }

    fn append_link(&mut self, path: &Path, stat: &Stat, target: &Path) -> Result<(), PackError> {
        let mut header = self.header(EntryType::Symlink, stat)?;
        header.set_size(0);
        self.tar.append_link(&mut header, self.called(path), target).map_err(PackError::Write)?;
        self.copied.entries += 1;
        Ok(())
    }

    /// What the archive calls `path`.
    fn called(&self, path: &Path) -> PathBuf {
        match &self.source.called {
            Some(called) if path.as_os_str().is_empty() => called.into(),
            Some(called) => Path::new(called).join(path),
            None if path.as_os_str().is_empty() => "./".into(),
            None => path.to_owned(),
        }
    }

    /// The header of an entry, after an extended one for a time that has no room in it.
    fn header(&mut self, kind: EntryType, stat: &Stat) -> Result<Header, PackError> {
        let (seconds, nanos) = (stat.st_mtime, stat.st_mtime_nsec);
        if seconds < 0 || nanos != 0 {
            let time = render_time(seconds, nanos);
            let extension = [("mtime", time.as_bytes())];
            self.tar.append_pax_extensions(extension).map_err(PackError::Write)?;
        }
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(stat.st_mode & 0o7777);
        header.set_mtime(u64::try_from(seconds).unwrap_or(0));
        header.set_uid(0);
        header.set_gid(0);
        Ok(header)
    }

    fn note(&mut self, path: &Path, what: &str) {
        if self.copied.notes.len() == MAX_NOTES {
            self.more_notes += 1;
            return;
        }
        let name = &path.as_os_str().as_bytes();
        let shown = String::from_utf8_lossy(&name[..name.len().min(MAX_NOTED_NAME)]);
        let dots = if name.len() > MAX_NOTED_NAME { "…" } else { "" };
        self.copied.notes.push(format!("`{shown}{dots}`: {what}"));
    }

    fn finish(self) -> Result<Copied, PackError> {
        let Self { tar, mut copied, more_notes, .. } = self;
        tar.into_inner().and_then(|mut out| out.flush()).map_err(PackError::Write)?;
        if more_notes > 0 {
            copied.notes.push(format!("and {more_notes} more"));
        }
        Ok(copied)
    }
}

/// A writer that can be made to fail.
#[derive(Debug)]
struct Cuttable<W> {
    inner: W,
    cut: bool,
}

impl<W: Write> Write for Cuttable<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cut { Err(io::ErrorKind::BrokenPipe.into()) } else { self.inner.write(bytes) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A file as so many bytes, whatever becomes of it: cut, or filled up with zeros.
#[derive(Debug)]
struct Exactly {
    file: File,
    left: u64,
    /// What the system said, which whoever reads would take for its own failure.
    error: Option<io::Error>,
    /// Whether there was too little.
    short: bool,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..wanted];
        let read = if self.short { Ok(0) } else { self.file.read(buffer) };
        let count = read.map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            self.error = Some(error);
            io::ErrorKind::Other.into()
        })?;
        let count = if count == 0 {
            self.short |= wanted > 0;
            buffer.fill(0);
            wanted
        } else {
            count
        };
        self.left -= count as u64;
        Ok(count)
    }
}

fn unreadable(path: &Path, source: io::Error) -> PackError {
    let name = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    PackError::Read { name: name.display().to_string(), source }
}

fn is_of_kernel(directory: &OwnedFd) -> bool {
    let kind = rustix::fs::fstatfs(directory).map(|stat| stat.f_type);
    kind.is_ok_and(|kind| KERNEL_FILE_SYSTEMS.contains(&(kind as u64)))
}

/// The names in a directory, sorted, so that the same tree is the same stream.
fn list(directory: &OwnedFd) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    names.sort();
    Ok(names)
}

/// A time of an extended header, as `unpack` reads it.
fn render_time(seconds: i64, nanos: impl Into<i128>) -> String {
    let total = i128::from(seconds) * 1_000_000_000 + nanos.into();
    let sign = if total < 0 { "-" } else { "" };
    let total = total.unsigned_abs();
    format!("{sign}{}.{:09}", total / 1_000_000_000, total % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_cut_meanwhile_is_filled_up() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abc").unwrap();
        io::Seek::rewind(&mut file).unwrap();
        let mut contents = Exactly { file, left: 6, error: None, short: false };
        let mut read = Vec::new();
        contents.read_to_end(&mut read).unwrap();
        assert_eq!((&*read, contents.short), (&b"abc\0\0\0"[..], true));
    }

    #[test]
    fn times_before_1970_are_written_as_they_are() {
        assert_eq!(render_time(12, 5u32), "12.000000005");
        assert_eq!(render_time(-2, 750_000_000u32), "-1.250000000");
        assert_eq!(render_time(-1, 0u32), "-1.000000000");
    }
}
