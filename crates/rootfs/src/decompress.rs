//! The compressions that kernels and their modules come in, recognised by their first bytes.
//!
//! Every decompression is bounded: what claims to be a kernel may be anything.

use std::io::{self, BufRead, Read};

use xz2::stream::{Action, Error, Status, Stream};

/// First bytes of the LZ4 form that kernels use (`lz4 -l`, the "legacy" frame).
const LZ4_LEGACY: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// Uncompressed bytes of a legacy LZ4 block at most.
const LZ4_BLOCK: usize = 8 << 20;
/// Bytes that LZMA decompresses at once.
const CHUNK: usize = 1 << 20;
/// Memory that LZMA may take: the dictionaries of kernels have 64 MiB at most.
const LZMA_MEMORY: u64 = 256 << 20;

/// A compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// gzip.
    Gzip,
    /// bzip2.
    Bzip2,
    /// LZMA without a container.
    Lzma,
    /// xz.
    Xz,
    /// LZ4, legacy frame.
    Lz4,
    /// zstd.
    Zstd,
    /// LZO: recognised, to be named in the refusal.
    Lzo,
}

/// Why something cannot be decompressed.
#[derive(Debug, thiserror::Error)]
pub enum DecompressError {
    /// A compression that is not supported: for LZO, which no distribution uses for its kernel,
    /// there is no decoder that is kept up.
    #[error("{0:?} compression is not supported here")]
    Unsupported(Compression),
    /// More data than expected.
    #[error("more than {limit} bytes decompressed")]
    TooMuch {
        /// How many were allowed.
        limit: usize,
    },
    /// Broken data.
    #[error("broken {compression:?} data")]
    Broken {
        /// Which compression.
        compression: Compression,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Compression {
    /// Recognises the compression of `data` by its first bytes.
    #[must_use]
    pub fn of(data: &[u8]) -> Option<Self> {
        // The same signatures as the kernel's lib/decompress.c.
        const SIGNATURES: [(&[u8], Compression); 7] = [
            (&[0x1f, 0x8b], Compression::Gzip),
            (b"BZh", Compression::Bzip2),
            (&[0x5d, 0x00, 0x00], Compression::Lzma),
            (&[0xfd, b'7', b'z', b'X', b'Z', 0], Compression::Xz),
            (&LZ4_LEGACY, Compression::Lz4),
            (&[0x28, 0xb5, 0x2f, 0xfd], Compression::Zstd),
            (&[0x89, b'L', b'Z', b'O'], Compression::Lzo),
        ];
        SIGNATURES.iter().find(|(bytes, _)| data.starts_with(bytes)).map(|&(_, kind)| kind)
    }

    /// Decompresses one stream at the start of `data`; what follows it is ignored. `limit` is
    /// how many bytes may come out, for LZ4 also where to stop: its legacy frame has no end mark.
    ///
    /// # Errors
    /// When the data is broken or larger than `limit`.
    pub fn decompress(self, data: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
        let broken = |source| DecompressError::Broken { compression: self, source };
        let mut reader: Box<dyn Read> = match self {
            Self::Gzip => Box::new(flate2::bufread::GzDecoder::new(data)),
            Self::Bzip2 => Box::new(bzip2::bufread::BzDecoder::new(data)),
            Self::Lzma => {
                let stream = Stream::new_lzma_decoder(LZMA_MEMORY);
                let bytes = xz(stream, data, limit).map_err(broken)?;
                Box::new(io::Cursor::new(bytes))
            }
            Self::Xz => {
                let stream = Stream::new_stream_decoder(LZMA_MEMORY, 0);
                let bytes = xz(stream, data, limit).map_err(broken)?;
                Box::new(io::Cursor::new(bytes))
            }
            Self::Lz4 => Box::new(io::Cursor::new(lz4_legacy(data, limit).map_err(broken)?)),
            Self::Zstd => Box::new(zstd_reader(data).map_err(broken)?),
            Self::Lzo => return Err(DecompressError::Unsupported(self)),
        };
        let mut bytes = Vec::new();
        let allowed = u64::try_from(limit).unwrap_or(u64::MAX);
        reader.by_ref().take(allowed).read_to_end(&mut bytes).map_err(broken)?;
        let more = bytes.len() == limit && reader.read(&mut [0]).map_err(broken)? != 0;
        if more { Err(DecompressError::TooMuch { limit }) } else { Ok(bytes) }
    }
}

fn zstd_reader<'a>(data: impl BufRead + 'a) -> io::Result<impl Read + 'a> {
    Ok(zstd::stream::read::Decoder::with_buffer(data)?.single_frame())
}

/// One stream of LZMA or xz, at most a little more than `limit` bytes of it. The crate's own
/// reader takes what follows a stream for an error.
fn xz(stream: Result<Stream, Error>, data: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    let mut stream = stream?;
    let mut rest = data;
    let mut bytes = Vec::new();
    while bytes.len() <= limit {
        bytes.reserve(CHUNK);
        let (had, taken) = (bytes.len(), stream.total_in());
        if stream.process_vec(rest, &mut bytes, Action::Run)? == Status::StreamEnd {
            break;
        }
        let taken = usize::try_from(stream.total_in() - taken).map_err(io::Error::other)?;
        rest = &rest[taken..];
        if taken == 0 && bytes.len() == had {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(bytes)
}

/// A sequence of blocks, each after its compressed length in 32 bits.
fn lz4_legacy(data: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    let short = || io::Error::new(io::ErrorKind::UnexpectedEof, "it ends in a block");
    let mut rest = data.strip_prefix(&LZ4_LEGACY).ok_or_else(short)?;
    let mut bytes = Vec::new();
    while bytes.len() < limit && !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        if *length == LZ4_LEGACY {
            rest = after;
            continue;
        }
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(io::Error::other)?;
        let (block, after) = after.split_at_checked(length).ok_or_else(short)?;
        let block = lz4_flex::block::decompress(block, LZ4_BLOCK).map_err(io::Error::other)?;
        bytes.extend_from_slice(&block);
        rest = after;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn plain() -> Vec<u8> {
        (0..50_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect()
    }

    fn lz4(plain: &[u8]) -> Vec<u8> {
        let mut bytes = LZ4_LEGACY.to_vec();
        for block in plain.chunks(64 << 10) {
            let block = lz4_flex::block::compress(block);
            bytes.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
            bytes.extend(block);
        }
        bytes
    }

    fn compressed(compression: Compression, plain: &[u8]) -> Vec<u8> {
        let finish = "a vector takes everything";
        match compression {
            Compression::Gzip => {
                let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                to.write_all(plain).expect(finish);
                to.finish().expect(finish)
            }
            Compression::Bzip2 => {
                let mut to = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                to.write_all(plain).expect(finish);
                to.finish().expect(finish)
            }
            Compression::Lzma | Compression::Xz => {
                let stream = if compression == Compression::Lzma {
                    Stream::new_lzma_encoder(&xz2::stream::LzmaOptions::new_preset(1).unwrap())
                } else {
                    Stream::new_easy_encoder(1, xz2::stream::Check::Crc32)
                };
                let mut to = xz2::write::XzEncoder::new_stream(Vec::new(), stream.unwrap());
                to.write_all(plain).expect(finish);
                to.finish().expect(finish)
            }
            Compression::Lz4 => lz4(plain),
            Compression::Zstd => zstd::encode_all(plain, 1).expect(finish),
            Compression::Lzo => unreachable!("nothing here writes LZO"),
        }
    }

    #[test]
    fn every_compression_round_trips_with_something_after_it() {
        let plain = plain();
        for compression in [
            Compression::Gzip,
            Compression::Bzip2,
            Compression::Lzma,
            Compression::Xz,
            Compression::Lz4,
            Compression::Zstd,
        ] {
            let mut data = compressed(compression, &plain);
            assert_eq!(Compression::of(&data), Some(compression));
            // The size that a kernel's build appends.
            data.extend(u32::try_from(plain.len()).unwrap().to_le_bytes());
            let round = compression.decompress(&data, plain.len()).unwrap();
            assert!(round == plain, "{compression:?}");
            if compression != Compression::Lz4 {
                let bomb = compression.decompress(&data, plain.len() - 1);
                assert!(matches!(bomb, Err(DecompressError::TooMuch { .. })), "{compression:?}");
            }
            let torn = compression.decompress(&data[..data.len() / 2], plain.len());
            assert!(matches!(torn, Err(DecompressError::Broken { .. })), "{compression:?}");
        }
    }

    #[test]
    fn lzo_is_refused_by_name() {
        let error = Compression::of(b"\x89LZO\0").unwrap().decompress(b"", 1).unwrap_err();
        assert_eq!(error.to_string(), "Lzo compression is not supported here");
    }
}
