//! Where the documents and layers of an image lie: in a tar file, or in a directory.

use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use banger_rootfs::digest::{HashingReader, render_hex};
use oci_spec::image::{Descriptor, Digest, DigestAlgorithm};
use serde::de::DeserializeOwned;

use super::ArchiveError;
use super::members::Members;
use crate::artifact::Cancelled;

/// Largest JSON document: what registries take for a manifest.
const MAX_DOCUMENT: u64 = 4 << 20;
/// Bytes hashed between two looks at whether anybody waits.
const CHUNK: u64 = 8 << 20;

/// A place with the parts of an image.
#[derive(Debug)]
pub(super) struct Store {
    /// What it is called in messages.
    pub(super) archive: String,
    /// The tar file or the directory.
    path: PathBuf,
    /// What is in the tar file; none for a directory.
    members: Option<Members>,
}

/// Where the bytes of a part are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) path: PathBuf,
    /// The bytes of `path` that are meant; none for all of them.
    pub(super) range: Option<Range<u64>>,
    pub(super) size: u64,
}

impl Store {
    /// The tar file at `path`, called `archive`, with these members.
    pub(super) fn tar(archive: &str, path: &Path, members: Members) -> Self {
        Self { archive: archive.to_owned(), path: path.to_owned(), members: Some(members) }
    }

    /// The directory at `path`, called `archive`.
    pub(super) fn directory(archive: &str, path: &Path) -> Self {
        Self { archive: archive.to_owned(), path: path.to_owned(), members: None }
    }

    /// Whether something of this name is there.
    pub(super) fn has(&self, name: &str) -> bool {
        match &self.members {
            Some(members) => members.has(name),
            None => self.path.join(name).is_file(),
        }
    }

    /// Finds a part by its name.
    ///
    /// # Errors
    /// When it is missing or no regular file.
    pub(super) fn find(&self, name: &str) -> Result<Part, ArchiveError> {
        if let Some(members) = &self.members {
            let range = members.find(name)?;
            let size = range.end - range.start;
            return Ok(Part { path: self.path.clone(), range: Some(range), size });
        }
        let path = self.path.join(name);
        match fs_err::metadata(&path) {
            Ok(data) if data.is_file() => Ok(Part { path, range: None, size: data.len() }),
            Ok(_) => Err(self.wrong(name, "is no regular file")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(self.wrong(name, "is missing"))
            }
            Err(source) => Err(self.unreadable(source)),
        }
    }

    /// Finds the blob of a descriptor.
    ///
    /// # Errors
    /// When it is missing, has another size, or its digest is of a kind that is not known here.
    pub(super) fn find_blob(&self, blob: &Descriptor) -> Result<(Part, [u8; 32]), ArchiveError> {
        let digest = self.parse_digest(blob.digest())?;
        let name = blob_name(&digest);
        let part = self.find(&name)?;
        if part.size != blob.size() {
            let what = format!("has {} bytes, not the {} it should have", part.size, blob.size());
            return Err(self.wrong(&name, what));
        }
        Ok((part, digest))
    }

    /// The document that a descriptor means, its digest verified.
    ///
    /// # Errors
    /// As for [`find_blob`](Self::find_blob), and when it is too large or not what it should be.
    pub(super) fn load_blob(&self, blob: &Descriptor) -> Result<(String, Vec<u8>), ArchiveError> {
        let (part, digest) = self.find_blob(blob)?;
        let name = blob_name(&digest);
        let text = self.read(&part, &name)?;
        self.verify(&part, &name, &digest, &Cancelled::never())?;
        Ok((name, text))
    }

    /// The bytes of a document.
    ///
    /// # Errors
    /// When it is missing, too large or cannot be read.
    pub(super) fn load(&self, name: &str) -> Result<Vec<u8>, ArchiveError> {
        self.read(&self.find(name)?, name)
    }

    /// Understands a document.
    ///
    /// # Errors
    /// When it is not what it should be.
    pub(super) fn parse<T: DeserializeOwned>(
        &self,
        name: &str,
        text: &[u8],
    ) -> Result<T, ArchiveError> {
        serde_json::from_slice(text).map_err(|source| ArchiveError::Form {
            archive: self.archive.clone(),
            member: name.to_owned(),
            source,
        })
    }

    /// Checks that a part has the digest it should have.
    ///
    /// # Errors
    /// When it has another, cannot be read, or nobody waits any more.
    pub(super) fn verify(
        &self,
        part: &Part,
        name: &str,
        expected: &[u8; 32],
        cancelled: &Cancelled,
    ) -> Result<(), ArchiveError> {
        let mut reader = HashingReader::new(self.open(part)?);
        let mut left = part.size;
        while left > 0 {
            if cancelled.flow().is_break() {
                return Err(ArchiveError::Cancelled { archive: self.archive.clone() });
            }
            let chunk = left.min(CHUNK);
            let mut taken = reader.by_ref().take(chunk);
            let read = std::io::copy(&mut taken, &mut std::io::sink());
            if read.map_err(|source| self.unreadable(source))? != chunk {
                return Err(self.wrong(name, "changed while it was read"));
            }
            left -= chunk;
        }
        let found = reader.finish();
        if found == *expected {
            return Ok(());
        }
        let what = format!("has the SHA-256 {}, not the one it is named by", render_hex(&found));
        Err(self.wrong(name, what))
    }

    fn read(&self, part: &Part, name: &str) -> Result<Vec<u8>, ArchiveError> {
        if part.size > MAX_DOCUMENT {
            let what = format!("has {} bytes, more than a document may have", part.size);
            return Err(self.wrong(name, what));
        }
        let mut bytes = Vec::new();
        let mut reader = self.open(part)?.take(part.size);
        reader.read_to_end(&mut bytes).map_err(|source| self.unreadable(source))?;
        Ok(bytes)
    }

    fn open(&self, part: &Part) -> Result<fs_err::File, ArchiveError> {
        let open = || {
            let mut file = fs_err::File::open(&part.path)?;
            file.seek(SeekFrom::Start(part.range.as_ref().map_or(0, |range| range.start)))?;
            Ok(file)
        };
        open().map_err(|source| self.unreadable(source))
    }

    fn parse_digest(&self, digest: &Digest) -> Result<[u8; 32], ArchiveError> {
        match digest.algorithm() {
            DigestAlgorithm::Sha256 => parse_hex(digest.digest()),
            _ => None,
        }
        .ok_or_else(|| self.wrong(digest.as_ref(), "is a digest that cannot be checked here"))
    }

    /// An error about a part.
    pub(super) fn wrong(&self, member: &str, what: impl Into<String>) -> ArchiveError {
        ArchiveError::Member {
            archive: self.archive.clone(),
            member: member.to_owned(),
            what: what.into(),
        }
    }

    /// An error about the whole.
    pub(super) fn wrong_as_whole(&self, what: impl Into<String>) -> ArchiveError {
        ArchiveError::Archive { archive: self.archive.clone(), what: what.into() }
    }

    fn unreadable(&self, source: std::io::Error) -> ArchiveError {
        ArchiveError::Read { archive: self.archive.clone(), source }
    }
}

/// Where a layout keeps a blob
/// (<https://github.com/opencontainers/image-spec/blob/main/image-layout.md>).
pub(super) fn blob_name(digest: &[u8; 32]) -> String {
    format!("blobs/sha256/{}", render_hex(digest))
}

/// The SHA-256 that 64 hexadecimal digits are.
pub(super) fn parse_hex(text: &str) -> Option<[u8; 32]> {
    banger_proto::Digest::parse_hex(text).ok().map(|digest| *digest.as_bytes())
}
