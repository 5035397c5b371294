//! Reading a file of any length through the compression it has, told by its first bytes.
//!
//! Unlike [`crate::decompress`], which takes a whole stream into memory, this does not bound what
//! comes out, which is the reader's business, and reads all streams that follow each other.

use std::io::{self, BufRead, Read};

use crate::decompress::Compression;

/// Largest window that a file may ask decompression for, in bytes. What container tools write
/// needs 8 MiB at most; the largest of `xz -9` and `zstd --ultra` is this and twice this.
pub const MAX_WINDOW: u64 = 64 << 20;
/// The same for zstd, as a power of two.
const MAX_WINDOW_LOG: u32 = MAX_WINDOW.ilog2();
/// Where a tar archive says that it is one; programs of the eighties did not.
const TAR_MAGIC: (usize, &[u8]) = (257, b"ustar");

/// What comes out of a compression.
pub type Decoder = Box<dyn Read + Send>;

/// The compression of what `input` holds. Its buffer must take 512 bytes.
///
/// # Errors
/// When it cannot be read.
pub fn recognise(input: &mut impl BufRead) -> io::Result<Option<Compression>> {
    let head = input.fill_buf()?;
    // The names of an archive's first file may begin with anything.
    let (at, magic) = TAR_MAGIC;
    if head.get(at..at + magic.len()) == Some(magic) {
        return Ok(None);
    }
    Ok(Compression::of(head))
}

/// A decoder of all streams one after the other that `input` consists of; `None` for a compression
/// that archives do not come in.
pub fn open(
    compression: Option<Compression>,
    input: impl BufRead + Send + 'static,
) -> Option<io::Result<Decoder>> {
    Some(match compression {
        None => Ok(Box::new(input)),
        Some(Compression::Gzip) => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(input))),
        Some(Compression::Bzip2) => Ok(Box::new(bzip2::bufread::MultiBzDecoder::new(input))),
        Some(Compression::Xz) => open_xz(input),
        Some(Compression::Zstd) => open_zstd(input),
        Some(Compression::Lzma | Compression::Lz4 | Compression::Lzo) => return None,
    })
}

fn open_xz(input: impl BufRead + Send + 'static) -> io::Result<Decoder> {
    // A little more than the window is needed beside it.
    let memory = MAX_WINDOW + (4 << 20);
    let stream = xz2::stream::Stream::new_stream_decoder(memory, xz2::stream::CONCATENATED)?;
    Ok(Box::new(xz2::bufread::XzDecoder::new_stream(input, stream)))
}

fn open_zstd(input: impl BufRead + Send + 'static) -> io::Result<Decoder> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
    decoder.window_log_max(MAX_WINDOW_LOG)?;
    Ok(Box::new(decoder))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(data: Vec<u8>) -> Vec<u8> {
        let mut data = io::Cursor::new(data);
        let compression = recognise(&mut data).unwrap();
        let mut bytes = Vec::new();
        open(compression, data).unwrap().unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn every_compression_and_several_members() {
        let gzip = |text: &[u8]| {
            let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            to.write_all(text).unwrap();
            to.finish().unwrap()
        };
        let bzip2 = |text: &[u8]| {
            let mut to = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            to.write_all(text).unwrap();
            to.finish().unwrap()
        };
        let xz = |text: &[u8]| {
            let mut to = xz2::write::XzEncoder::new(Vec::new(), 1);
            to.write_all(text).unwrap();
            to.finish().unwrap()
        };
        let zstd = |text: &[u8]| zstd::encode_all(text, 1).unwrap();
        for members in [
            [gzip(b"one, "), gzip(b"two")],
            [bzip2(b"one, "), bzip2(b"two")],
            [xz(b"one, "), xz(b"two")],
            [zstd(b"one, "), zstd(b"two")],
        ] {
            assert_eq!(read(members.concat()), b"one, two");
            let torn = io::Cursor::new(members[0][..members[0].len() / 2].to_vec());
            let compression = recognise(&mut torn.clone()).unwrap();
            let torn = open(compression, torn).unwrap().unwrap().read_to_end(&mut Vec::new());
            assert!(torn.is_err(), "{compression:?}");
        }
        assert_eq!(read(b"plain".to_vec()), b"plain");
        assert_eq!(read(Vec::new()), b"");
    }

    #[test]
    fn others_are_told_apart_from_archives() {
        let lzo = recognise(&mut &b"\x89LZO\0"[..]).unwrap();
        assert_eq!(lzo, Some(Compression::Lzo));
        assert!(open(lzo, io::empty()).is_none());
        let mut tar = [0; 512];
        tar[..3].copy_from_slice(b"BZh");
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(recognise(&mut &tar[..]).unwrap(), None);
    }
}
