//! SHA-256 of files and of what is read.

use std::fmt::Write as _;
use std::io::{self, Read, Write};

use sha2::{Digest, Sha256};

/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// A SHA-256 digest as 64 lower-case hexadecimal digits.
#[must_use]
pub fn render_hex(digest: &[u8]) -> String {
    digest.iter().fold(String::with_capacity(digest.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 of all that `reader` still gives.
///
/// # Errors
/// When reading fails.
pub fn sha256(reader: &mut impl Read) -> io::Result<[u8; 32]> {
    let mut hashing = HashingReader::new(reader);
    hashing.drain()?;
    Ok(hashing.finish())
}

/// A reader that keeps the digest of what went through it.
#[derive(Debug)]
pub struct HashingReader<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> HashingReader<R> {
    /// Wraps `inner`; bytes read before do not count.
    pub fn new(inner: R) -> Self {
        Self { inner, hasher: Sha256::new() }
    }

    /// Reads and hashes what is left.
    ///
    /// # Errors
    /// When reading fails.
    pub fn drain(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        while self.read(&mut buffer)? != 0 {}
        Ok(())
    }

    /// The digest of everything read so far.
    pub fn finish(self) -> [u8; 32] {
        self.hasher.finalize().into()
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// A writer that keeps digest and length of what went through it.
#[derive(Debug)]
pub struct HashingWriter<W> {
    inner: W,
    hasher: Sha256,
    count: u64,
}

impl<W: Write> HashingWriter<W> {
    /// Wraps `inner`; bytes written before do not count.
    pub fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new(), count: 0 }
    }

    /// Bytes written so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The digest of everything written so far, and what it was written to.
    pub fn finish(self) -> ([u8; 32], W) {
        (self.hasher.finalize().into(), self.inner)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digest() {
        // The empty message and `abc` of FIPS 180-2, appendix B.
        let hex = |bytes: &[u8]| render_hex(&sha256(&mut &bytes[..]).unwrap());
        assert_eq!(hex(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn what_is_written_is_counted_and_hashed() {
        let mut writer = HashingWriter::new(Vec::new());
        writer.write_all(b"ab").unwrap();
        writer.write_all(b"c").unwrap();
        assert_eq!(writer.count(), 3);
        assert_eq!(writer.finish(), (sha256(&mut &b"abc"[..]).unwrap(), b"abc".to_vec()));
    }
}
