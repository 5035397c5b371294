//! Names that git gives to contents, so that guest and host can tell without sending them whether
//! two files are the same.

use std::fmt;
use std::io::{self, Read};

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Bytes that are read at once.
const BLOCK: usize = 64 << 10;

/// How a repository names its objects (`extensions.objectFormat`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectFormat {
    /// 20 bytes.
    Sha1,
    /// 32 bytes.
    Sha256,
}

impl ObjectFormat {
    /// The format with git's name for it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "sha1" => Some(Self::Sha1),
            "sha256" => Some(Self::Sha256),
            _ => None,
        }
    }

    /// Git's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }

    /// Bytes of a name.
    #[must_use]
    pub fn id_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }
}

/// Name of an object.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(Vec<u8>);

impl ObjectId {
    /// The name with these bytes; none when they are too few or too many.
    #[must_use]
    pub fn from_bytes(format: ObjectFormat, bytes: &[u8]) -> Option<Self> {
        (bytes.len() == format.id_len()).then(|| Self(bytes.to_vec()))
    }

    /// Parses lower-case hexadecimal, as git writes it.
    #[must_use]
    pub fn parse(format: ObjectFormat, hex: &[u8]) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let (pairs, rest) = hex.as_chunks::<2>();
        let bytes: Option<Vec<u8>> =
            pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
        rest.is_empty().then_some(())?;
        Self::from_bytes(format, &bytes?)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// As git writes it.
impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names an object whose bytes come piece by piece: the hash of `<kind> <size>\0` and its bytes
/// (gitformat-loose-object; `git hash-object --no-filters`).
#[derive(Debug, Clone)]
pub struct ObjectHasher(Hash);

#[derive(Debug, Clone)]
enum Hash {
    Sha1(Sha1),
    Sha256(Sha256),
}

impl ObjectHasher {
    /// A hasher of an object that begins with `header`, its NUL included.
    #[must_use]
    pub fn new(format: ObjectFormat, header: &[u8]) -> Self {
        let hash = match format {
            ObjectFormat::Sha1 => Hash::Sha1(Sha1::new()),
            ObjectFormat::Sha256 => Hash::Sha256(Sha256::new()),
        };
        let mut hasher = Self(hash);
        hasher.update(header);
        hasher
    }

    /// A hasher of contents that have `size` bytes.
    #[must_use]
    pub fn blob(format: ObjectFormat, size: u64) -> Self {
        Self::new(format, &blob_header(size))
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Hash::Sha1(hash) => hash.update(bytes),
            Hash::Sha256(hash) => hash.update(bytes),
        }
    }

    /// The name.
    #[must_use]
    pub fn finish(self) -> ObjectId {
        ObjectId(match self.0 {
            Hash::Sha1(hash) => hash.finalize().to_vec(),
            Hash::Sha256(hash) => hash.finalize().to_vec(),
        })
    }
}

/// What goes before contents of `size` bytes.
#[must_use]
pub fn blob_header(size: u64) -> Vec<u8> {
    format!("blob {size}\0").into_bytes()
}

/// Names these contents.
#[must_use]
pub fn name_blob(format: ObjectFormat, contents: &[u8]) -> ObjectId {
    let mut hasher = ObjectHasher::blob(format, contents.len() as u64);
    hasher.update(contents);
    hasher.finish()
}

/// Names the next `size` bytes of `reader`.
///
/// # Errors
/// When they cannot be read; `UnexpectedEof` when there are fewer.
pub fn name_blob_of(
    format: ObjectFormat,
    size: u64,
    reader: &mut impl Read,
) -> io::Result<ObjectId> {
    let mut hasher = ObjectHasher::blob(format, size);
    let mut reader = reader.take(size);
    let mut block = vec![0; BLOCK];
    loop {
        match reader.read(&mut block) {
            Ok(0) if reader.limit() == 0 => return Ok(hasher.finish()),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => hasher.update(&block[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_gits() {
        // What `git hash-object` says of `hello\n`.
        let sha1 = "ce013625030ba8dba906f756967f9e9ca394464a";
        let sha256 = "2cf8d83d9ee29543b34a87727421fdecb7e3f3a183d337639025de576db9ebb4";
        for (format, name) in [(ObjectFormat::Sha1, sha1), (ObjectFormat::Sha256, sha256)] {
            let id = name_blob(format, b"hello\n");
            assert_eq!(id.to_string(), name);
            assert_eq!(ObjectId::parse(format, name.as_bytes()), Some(id.clone()));
            assert_eq!(name_blob_of(format, 6, &mut &b"hello\nmore"[..]).unwrap(), id);
        }
    }

    #[test]
    fn contents_that_end_early_have_no_name() {
        let error = name_blob_of(ObjectFormat::Sha1, 6, &mut &b"hell"[..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn only_names_are_names() {
        for bad in ["", "ce01", "CE013625030ba8dba906f756967f9e9ca394464a", &"g".repeat(40)] {
            assert_eq!(ObjectId::parse(ObjectFormat::Sha1, bad.as_bytes()), None, "{bad}");
        }
    }
}
