//! Writing and listing an initramfs: a cpio archive in the `newc` form, always with the same bytes for the
//! same files (`Documentation/driver-api/early-userspace/buffer-format.rst` in the kernel).
//!
//! The kernel takes several archives one after the other as one, so that parts can be made and
//! cached apart.

use std::io::{self, Write};

/// Archives end, and follow each other, on multiples of this many bytes.
const ALIGNMENT: usize = 4;
/// Name of the entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";
const TYPE_DIRECTORY: u32 = 0o040_000;
const TYPE_FILE: u32 = 0o100_000;
/// The bits of a mode that are the type.
const TYPE_MASK: u32 = 0o170_000;

/// Writes one archive. All entries belong to root and have no time.
#[derive(Debug)]
pub struct CpioWriter<W> {
    to: W,
    /// Number of the next entry; entries with the same number would be hard links.
    inode: u32,
}

impl<W: Write> CpioWriter<W> {
    /// An archive that goes to `to`.
    pub fn new(to: W) -> Self {
        Self { to, inode: 1 }
    }

    /// Adds a directory, which has to come before what is in it.
    ///
    /// # Errors
    /// When writing fails.
    pub fn directory(&mut self, name: &str, mode: u32) -> io::Result<()> {
        self.entry(name, TYPE_DIRECTORY | mode, 2, &[])
    }

    /// Adds a file of less than 4 GiB.
    ///
    /// # Errors
    /// When writing fails or `contents` are too long.
    pub fn file(&mut self, name: &str, mode: u32, contents: &[u8]) -> io::Result<()> {
        self.entry(name, TYPE_FILE | mode, 1, contents)
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.inode = 0;
        self.entry(TRAILER, 0, 1, &[])?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn entry(&mut self, name: &str, mode: u32, links: u32, contents: &[u8]) -> io::Result<()> {
        let size = u32::try_from(contents.len())
            .map_err(|_| io::Error::other(format!("`{name}` is too long for a cpio archive")))?;
        let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        // inode, mode, uid, gid, links, mtime, size, device (2), special device (2), name, check
        let fields = [self.inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        self.inode += 1;
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08x}"));
        }
        header.push_str(name);
        header.push('\0');
        self.padded(header.as_bytes())?;
        self.padded(contents)
    }

    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)?;
        self.to.write_all(&[0; ALIGNMENT][..bytes.len().next_multiple_of(ALIGNMENT) - bytes.len()])
    }
}

/// Why something is no archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpioError {
    /// It does not begin like an entry.
    #[error("it is no uncompressed cpio archive (`newc`)")]
    NotCpio,
    /// It ends in the middle.
    #[error("it is cut off")]
    Short,
}

/// A regular file in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpioFile<'a> {
    /// Its name, any bytes.
    pub name: &'a [u8],
    /// What is in it.
    pub contents: &'a [u8],
}

/// The regular files in `archive`, in its order.
///
/// # Errors
/// When it is no whole archive of the `newc` form.
pub fn list_files(archive: &[u8]) -> Result<Vec<CpioFile<'_>>, CpioError> {
    /// Bytes of the magic and of the 13 fields after it.
    const HEADER: usize = 6 + 13 * 8;
    let mut files = Vec::new();
    let mut at = 0;
    loop {
        let header = archive.get(at..at + HEADER).ok_or(CpioError::Short)?;
        if !header.starts_with(b"070701") {
            return Err(CpioError::NotCpio);
        }
        let field = |index: usize| {
            let digits = &header[6 + index * 8..][..8];
            let text = str::from_utf8(digits).map_err(|_| CpioError::NotCpio)?;
            u32::from_str_radix(text, 16).map_err(|_| CpioError::NotCpio)
        };
        let length = |index| field(index).map(|length| length as usize);
        let (mode, size, name_size) = (field(1)?, length(6)?, length(11)?);
        let name = archive.get(at + HEADER..).and_then(|rest| rest.get(..name_size));
        let name = name.ok_or(CpioError::Short)?;
        let name = name.strip_suffix(b"\0").ok_or(CpioError::NotCpio)?;
        if name == TRAILER.as_bytes() {
            return Ok(files);
        }
        at = (at + HEADER + name_size).next_multiple_of(ALIGNMENT);
        let contents = archive.get(at..).and_then(|rest| rest.get(..size));
        let contents = contents.ok_or(CpioError::Short)?;
        if mode & TYPE_MASK == TYPE_FILE {
            files.push(CpioFile { name, contents });
        }
        at = (at + size).next_multiple_of(ALIGNMENT);
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn other_programs_read_it() {
        let write = || {
            let mut cpio = CpioWriter::new(Vec::new());
            cpio.directory("modules", 0o755).unwrap();
            cpio.file("modules/load.list", 0o644, b"a.ko\n").unwrap();
            cpio.file("init", 0o755, &[7; 4097]).unwrap();
            cpio.finish().unwrap()
        };
        let archive = write();
        assert_eq!(archive, write());
        assert_eq!(archive.len() % ALIGNMENT, 0);

        let place = tempfile::tempdir().unwrap();
        let mut reader = Command::new("busybox")
            .args(["cpio", "-i"])
            .current_dir(place.path())
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("busybox is needed by this test");
        reader.stdin.take().unwrap().write_all(&archive).unwrap();
        assert!(reader.wait().unwrap().success());
        let read = |name: &str| fs_err::read(place.path().join(name)).unwrap();
        assert_eq!(read("modules/load.list"), b"a.ko\n");
        assert_eq!(read("init"), [7; 4097]);
    }

    #[test]
    fn files_are_listed() {
        let mut cpio = CpioWriter::new(Vec::new());
        cpio.directory("modules", 0o755).unwrap();
        cpio.file("modules/a.ko", 0o644, b"abc").unwrap();
        cpio.file("init", 0o755, b"").unwrap();
        let archive = cpio.finish().unwrap();
        let files = list_files(&archive).unwrap();
        let module = CpioFile { name: b"modules/a.ko", contents: b"abc" };
        assert_eq!(files, [module, CpioFile { name: b"init", contents: b"" }]);
        for end in 0..archive.len() - 4 {
            assert_eq!(list_files(&archive[..end]), Err(CpioError::Short), "{end}");
        }
        assert_eq!(list_files(&[b'x'; 200]), Err(CpioError::NotCpio));
    }
}
