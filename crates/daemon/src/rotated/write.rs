//! Writing a log of bounded size.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::older;

/// A log that is written to. Its file is opened when there is something to write.
#[derive(Debug)]
pub(crate) struct RotatedFile {
    path: PathBuf,
    limit: u64,
    open: Option<(fs_err::File, u64)>,
}

impl RotatedFile {
    /// A log whose files grow over `limit` bytes by one piece at most. What an earlier process
    /// wrote to it stays.
    pub(crate) fn new(path: &Path, limit: u64) -> Self {
        Self { path: path.to_owned(), limit, open: None }
    }

    /// Adds a piece, which is never torn apart between the two files.
    ///
    /// # Errors
    /// On I/O errors; the next call tries anew.
    pub(crate) fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.file()?.1 >= self.limit {
            // If this fails the file stays open and full: it must not grow without end.
            fs_err::rename(&self.path, older(&self.path))?;
            self.open = None;
        }
        let (file, len) = self.file()?;
        file.write_all(piece)?;
        *len += piece.len() as u64;
        Ok(())
    }

    fn file(&mut self) -> io::Result<&mut (fs_err::File, u64)> {
        Ok(match &mut self.open {
            Some(open) => open,
            closed @ None => {
                let mut options = std::fs::OpenOptions::new();
                options.create(true).append(true).mode(0o600);
                let file = fs_err::OpenOptions::from_options(options).open(&self.path)?;
                let len = file.metadata()?.len();
                closed.insert((file, len))
            }
        })
    }
}

/// Each write is a piece.
impl Write for RotatedFile {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.append(piece).map(|()| piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn two_files_of_bounded_size_that_only_the_user_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        fs_err::write(&path, "earlier\n").unwrap();
        let mut log = RotatedFile::new(&path, 100);
        for round in 0..100 {
            log.append(format!("line {round}\n").as_bytes()).unwrap();
        }
        let (now, before) = [&path, &older(&path)].map(fs_err::read_to_string).into();
        let (now, before) = (now.unwrap(), before.unwrap());
        assert!(before.len() < 110 && now.len() < 110, "{} {}", before.len(), now.len());
        assert!(now.ends_with("line 99\n") && before.ends_with('\n') && now.starts_with("line"));
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // A full file of an earlier process is not added to.
        fs_err::write(&path, "x".repeat(200)).unwrap();
        RotatedFile::new(&path, 100).append(b"new\n").unwrap();
        assert_eq!(fs_err::read_to_string(&path).unwrap(), "new\n");
    }
}
