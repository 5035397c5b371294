//! Reading a file of any length through the compression it has, told by its first bytes.
//!
//! Unlike [`crate::decompress`], which takes a whole stream into memory, this neither bounds what
//! comes out nor ends at a member's end: gzip, bzip2 and xz files may be several, one after the
//! other. The bound is the reader's business.

use std::io::{self, BufRead, Read};

use crate::decompress::Compression;

/// Memory that decompressing xz may take: `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 128 << 20;
/// Largest window of zstd, as a power of two: 128 MiB, the most its own tool takes unasked.
const ZSTD_WINDOW_LOG: u32 = 27;

/// What `reader` holds, without its compression, if it has one. Its buffer must hold the first
/// six bytes at once.
///
/// # Errors
/// When it cannot be read, or has a compression that archives do not come in.
pub fn open_stream<'a>(mut reader: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let unsupported = |kind: Compression| {
        let text = format!("{kind:?} compression is not supported here");
        io::Error::new(io::ErrorKind::Unsupported, text)
    };
    Ok(match Compression::of(reader.fill_buf()?) {
        None => Box::new(reader),
        Some(Compression::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Some(Compression::Bzip2) => Box::new(bzip2::bufread::MultiBzDecoder::new(reader)),
        Some(Compression::Xz) => {
            let flags = xz2::stream::CONCATENATED;
            let stream = xz2::stream::Stream::new_stream_decoder(XZ_MEMORY, flags)?;
            Box::new(xz2::bufread::XzDecoder::new_stream(reader, stream))
        }
        Some(Compression::Zstd) => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Some(other) => return Err(unsupported(other)),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        open_stream(data).unwrap().read_to_end(&mut bytes).unwrap();
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
        let forms: [&dyn Fn(&[u8]) -> Vec<u8>; 4] = [&gzip, &bzip2, &xz, &zstd];
        for compress in forms {
            let both = [compress(b"one, "), compress(b"two")].concat();
            assert_eq!(read(&both), b"one, two");
        }
        assert_eq!(read(b"plain"), b"plain");
        assert_eq!(read(b""), b"");
    }

    #[test]
    fn others_are_refused_by_name() {
        let error = open_stream(&b"\x89LZO\0"[..]).map(drop).unwrap_err();
        assert_eq!(error.to_string(), "Lzo compression is not supported here");
    }
}
