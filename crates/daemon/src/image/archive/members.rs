//! The members of an uncompressed tar file, found by name and read where they lie.
//!
//! Nothing is unpacked: a member is a range of the archive's bytes. So a hostile archive has no
//! file system to reach into; what is refused here is what could confuse whoever reads it next.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

use tar::{Archive, EntryType};

use super::ArchiveError;
use crate::artifact::Cancelled;

/// Most members: an image has some dozens.
const MAX_MEMBERS: usize = 1 << 16;
/// Longest chain of links between members; the tools that write them make one.
const MAX_LINKS: usize = 4;
/// Bytes of headers before a member: names and extended headers are read into memory.
const MAX_HEADERS: u64 = 1 << 20;

/// What a name in the archive stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Member {
    /// A regular file: where its bytes are.
    File(Range<u64>),
    /// A link to another member, by its name from the top.
    Link(String),
}

/// The members of one archive.
#[derive(Debug)]
pub(super) struct Members {
    archive: String,
    by_name: BTreeMap<String, Member>,
}

impl Members {
    /// Lists the tar file at `path`, which is called `archive` in messages.
    ///
    /// # Errors
    /// When it is broken or has names that lead out of it, names that are there twice, device
    /// files or pipes; and when nobody waits any more.
    pub(super) fn list(
        path: &Path,
        archive: &str,
        cancelled: &Cancelled,
    ) -> Result<Self, ArchiveError> {
        let mut members = Self { archive: archive.to_owned(), by_name: BTreeMap::new() };
        let broken = |source| ArchiveError::Read { archive: archive.to_owned(), source };
        let file = fs_err::File::open(path).map_err(broken)?.into_file();
        let length = file.metadata().map_err(broken)?.len();
        let (reader, allowance) = Bounded::new(file);
        let mut tar = Archive::new(reader);
        let mut entries = tar.entries_with_seek().map_err(broken)?;
        loop {
            allowance.set(MAX_HEADERS);
            let Some(entry) = entries.next() else { break };
            let entry = entry.map_err(broken)?;
            if cancelled.flow().is_break() {
                return Err(ArchiveError::Cancelled { archive: archive.to_owned() });
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let start = entry.raw_file_position();
            let end = start.saturating_add(entry.size());
            let member = match entry.header().entry_type() {
                EntryType::Directory => continue,
                EntryType::XGlobalHeader => continue,
                EntryType::Regular | EntryType::Continuous if end <= length => {
                    Member::File(start..end)
                }
                EntryType::Regular | EntryType::Continuous => {
                    return Err(members.wrong(&name, "is cut off"));
                }
                kind @ (EntryType::Symlink | EntryType::Link) => {
                    let target = entry.link_name_bytes().unwrap_or_default();
                    let target = String::from_utf8_lossy(&target).into_owned();
                    let base = if kind == EntryType::Symlink { parent(&name) } else { "" };
                    match resolve(base, &target) {
                        Some(target) => Member::Link(target),
                        None => {
                            let what = format!("is a link to `{target}`, outside of the archive");
                            return Err(members.wrong(&name, what));
                        }
                    }
                }
                EntryType::GNUSparse => return Err(members.wrong(&name, "is a sparse file")),
                _ => return Err(members.wrong(&name, "is a device file or a pipe")),
            };
            members.insert(&name, member)?;
        }
        Ok(members)
    }

    fn insert(&mut self, name: &str, member: Member) -> Result<(), ArchiveError> {
        let Some(clean) = resolve("", name) else {
            return Err(self.wrong(name, "is a name that leads out of the archive"));
        };
        if self.by_name.len() >= MAX_MEMBERS {
            let what = format!("has more than {MAX_MEMBERS} members");
            return Err(ArchiveError::Archive { archive: self.archive.clone(), what });
        }
        if self.by_name.insert(clean, member).is_some() {
            return Err(self.wrong(name, "is there twice"));
        }
        Ok(())
    }

    /// Whether there is a member of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        resolve("", name).is_some_and(|name| self.by_name.contains_key(&name))
    }

    /// Where the bytes of the member `name` are; links to other members are followed.
    ///
    /// # Errors
    /// When it is missing, or a link that leads nowhere.
    pub(super) fn find(&self, name: &str) -> Result<Range<u64>, ArchiveError> {
        let mut at = resolve("", name).ok_or_else(|| self.wrong(name, "is missing"))?;
        for _ in 0..=MAX_LINKS {
            match self.by_name.get(&at) {
                Some(Member::File(range)) => return Ok(range.clone()),
                Some(Member::Link(target)) => at.clone_from(target),
                None if at == name => return Err(self.wrong(name, "is missing")),
                None => {
                    return Err(self.wrong(name, format!("is a link to `{at}`, which is missing")));
                }
            }
        }
        Err(self.wrong(name, "is a link that leads in a circle"))
    }

    fn wrong(&self, member: &str, what: impl Into<String>) -> ArchiveError {
        ArchiveError::Member {
            archive: self.archive.clone(),
            member: member.to_owned(),
            what: what.into(),
        }
    }
}

/// What comes before the last `/`.
fn parent(name: &str) -> &str {
    name.trim_end_matches('/').rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// The name that `path` means from the directory `base`, both from the top of the archive; none
/// when it leads above it or is absolute.
fn resolve(base: &str, path: &str) -> Option<String> {
    if path.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." if base.is_empty() => return None,
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// A file of which only so much may be read between two members: headers are read into memory
/// whole, and may say they are as long as they like.
#[derive(Debug)]
pub(super) struct Bounded<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R> Bounded<R> {
    /// Wraps `inner`; the cell is what may still be read.
    pub(super) fn new(inner: R) -> (Self, Rc<Cell<u64>>) {
        let left = Rc::new(Cell::new(0));
        (Self { inner, left: Rc::clone(&left) }, left)
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        let allowed = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        if allowed == 0 && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its headers are too long"));
        }
        let count = self.inner.read(&mut buffer[..allowed])?;
        self.left.set(left - count as u64);
        Ok(count)
    }
}

impl<R: Seek> Seek for Bounded<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Tar, write};
    use super::*;

    fn list(tar: Tar) -> Result<Members, String> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a.tar");
        write(&path, &tar.finish());
        Members::list(&path, "a.tar", &Cancelled::never()).map_err(|error| error.to_string())
    }

    #[test]
    fn members_lie_in_the_archive() {
        let members = list(
            Tar::new()
                .directory("blobs/")
                .file("./blobs/a", b"one")
                .symlink("old/layer.tar", "../blobs/a")
                .hard_link("b", "blobs/a"),
        )
        .unwrap();
        let range = members.find("blobs/a").unwrap();
        assert_eq!(range.end - range.start, 3);
        assert_eq!(members.find("old/layer.tar").unwrap(), range);
        assert_eq!(members.find("b").unwrap(), range);
        assert!(members.has("blobs/a") && !members.has("blobs/c"));
        assert_eq!(members.find("c").unwrap_err().to_string(), "`c` in `a.tar` is missing");
    }

    #[test]
    fn hostile_members_are_named() {
        let refused = |tar: Tar| list(tar).unwrap_err();
        assert_eq!(
            refused(Tar::new().file("../x", b"")),
            "`../x` in `a.tar` is a name that leads out of the archive"
        );
        assert!(refused(Tar::new().file("a/../../x", b"")).contains("leads out"));
        assert!(refused(Tar::new().file("/etc/passwd", b"")).contains("leads out"));
        assert_eq!(
            refused(Tar::new().file("a", b"").file("./a", b"")),
            "`./a` in `a.tar` is there twice"
        );
        assert_eq!(
            refused(Tar::new().symlink("layer.tar", "/etc/shadow")),
            "`layer.tar` in `a.tar` is a link to `/etc/shadow`, outside of the archive"
        );
        assert!(refused(Tar::new().symlink("a/l", "../../x")).contains("outside"));
        assert_eq!(
            refused(Tar::new().device("null")),
            "`null` in `a.tar` is a device file or a pipe"
        );
    }

    #[test]
    fn links_that_lead_nowhere_are_named() {
        let members =
            list(Tar::new().symlink("a", "b").symlink("b", "a").symlink("c", "d")).unwrap();
        assert!(members.find("a").unwrap_err().to_string().ends_with("leads in a circle"));
        assert!(members.find("c").unwrap_err().to_string().ends_with("`d`, which is missing"));
    }

    #[test]
    fn endless_headers_end() {
        let error = list(Tar::new().long_name(64 << 20)).unwrap_err();
        assert_eq!(error, "cannot read `a.tar`");
    }

    #[test]
    fn a_torn_archive_is_one() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a.tar");
        let mut bytes = Tar::new().file("a", &[7; 4096]).finish();
        bytes.truncate(2048);
        write(&path, &bytes);
        let error = Members::list(&path, "a.tar", &Cancelled::never()).unwrap_err();
        assert_eq!(error.to_string(), "`a` in `a.tar` is cut off");
    }
}
