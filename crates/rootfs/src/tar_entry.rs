//! What one entry of a tar archive says: ustar, GNU and PAX forms in one shape.
//!
//! Not responsible for whether the name is acceptable; that is [`crate::tree`]'s.

use std::collections::BTreeMap;
use std::io::Read;
use std::str;

use tar::{Entry, EntryType};

use crate::tree::{Attributes, Kind};

/// PAX keyword prefix under which star and GNU tar keep extended attributes.
const PAX_XATTR: &str = "SCHILY.xattr.";
/// PAX keyword prefix of GNU tar's sparse files, whose contents have a form of their own.
const PAX_SPARSE: &str = "GNU.sparse.";
/// Latest time ext4 can hold with 256-byte inodes: 34 bits, the year 2446.
const MAX_SECONDS: i64 = (1 << 34) - 1 - (1 << 31);
/// Earliest time ext4 can hold: the year 1901.
const MIN_SECONDS: i64 = -(1 << 31);

/// Why an entry cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// Names that are not UTF-8.
    #[error("`{name}` has {what} that is not UTF-8")]
    NotUtf8 {
        /// The entry's name as far as it can be shown.
        name: String,
        /// Which text.
        what: &'static str,
    },
    /// A number in its header that makes no sense.
    #[error("`{name}` has no usable {what}")]
    Field {
        /// The entry's name.
        name: String,
        /// Which.
        what: &'static str,
    },
    /// An entry of an unknown kind.
    #[error("`{name}` is of a kind that is not supported: {kind}")]
    Unsupported {
        /// The entry's name.
        name: String,
        /// Which kind.
        kind: String,
    },
    /// The archive is broken.
    #[error("cannot read the archive")]
    Read(#[from] std::io::Error),
}

/// One entry of an archive.
#[derive(Debug, PartialEq, Eq)]
pub enum ParsedEntry {
    /// An object with attributes of its own.
    Object {
        /// Its name.
        path: String,
        /// What it is.
        kind: Kind,
        /// Its attributes.
        attributes: Attributes,
    },
    /// Another name of an earlier object.
    HardLink {
        /// Its name.
        path: String,
        /// Name of the earlier object.
        target: String,
    },
    /// Something about the archive itself.
    Nothing,
}

/// Reads what the header of `entry` says; `source` is what its contents will be found by.
///
/// # Errors
/// When the entry is of an unknown kind, or its header is broken.
pub fn parse_entry<R: Read>(
    entry: &mut Entry<'_, R>,
    source: u64,
) -> Result<ParsedEntry, EntryError> {
    let path_bytes = entry.path_bytes().into_owned();
    let shown = String::from_utf8_lossy(&path_bytes).into_owned();
    let entry_type = entry.header().entry_type();
    if entry_type == EntryType::XGlobalHeader {
        return Ok(ParsedEntry::Nothing);
    }
    let utf8 = |bytes: Vec<u8>, what| {
        String::from_utf8(bytes).map_err(|_| EntryError::NotUtf8 { name: shown.clone(), what })
    };
    let field = |what| EntryError::Field { name: shown.clone(), what };

    let path = utf8(path_bytes, "a name")?;
    let link = entry.link_name_bytes().map(|bytes| utf8(bytes.into_owned(), "a link target"));
    let link =
        || -> Result<String, EntryError> { link.unwrap_or_else(|| Err(field("link target"))) };
    let device = |part: std::io::Result<Option<u32>>| {
        part.ok().flatten().ok_or_else(|| field("device number"))
    };
    let header = entry.header();
    let kind = match entry_type {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            // An old archive's directory is a file whose name ends with a slash.
            if path.ends_with('/') {
                Kind::Directory
            } else {
                Kind::File { size: entry.size(), source }
            }
        }
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink { target: link()? },
        EntryType::Link => return Ok(ParsedEntry::HardLink { target: link()?, path }),
        EntryType::Char => Kind::CharDevice {
            major: device(header.device_major())?,
            minor: device(header.device_minor())?,
        },
        EntryType::Block => Kind::BlockDevice {
            major: device(header.device_major())?,
            minor: device(header.device_minor())?,
        },
        EntryType::Fifo => Kind::Fifo,
        other => {
            let kind = format!("type `{}`", char::from(other.as_byte()).escape_default());
            return Err(EntryError::Unsupported { name: shown, kind });
        }
    };
    let id = |number: std::io::Result<u64>, what| {
        number.ok().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| field(what))
    };
    let mode = header.mode().map_err(|_| field("mode"))? & 0o7777;
    let seconds = header.mtime().map_err(|_| field("modification time"))?;
    let mut attributes = Attributes {
        mode: u16::try_from(mode).map_err(|_| field("mode"))?,
        uid: id(header.uid(), "owner")?,
        gid: id(header.gid(), "group")?,
        mtime: clamp_time(i64::try_from(seconds).unwrap_or(i64::MAX), 0),
        xattrs: BTreeMap::new(),
    };
    apply_pax(entry, &shown, &mut attributes)?;
    Ok(ParsedEntry::Object { path, kind, attributes })
}

/// Takes over what only PAX headers say: exact times and extended attributes.
fn apply_pax<R: Read>(
    entry: &mut Entry<'_, R>,
    name: &str,
    attributes: &mut Attributes,
) -> Result<(), EntryError> {
    let Some(extensions) = entry.pax_extensions()? else { return Ok(()) };
    for extension in extensions {
        let extension = extension?;
        let Ok(key) = extension.key() else {
            return Err(EntryError::NotUtf8 { name: name.to_owned(), what: "an attribute name" });
        };
        if let Some(xattr) = key.strip_prefix(PAX_XATTR) {
            attributes.xattrs.insert(xattr.to_owned(), extension.value_bytes().to_vec());
        } else if key.starts_with(PAX_SPARSE) {
            let kind = "a sparse file in PAX form".to_owned();
            return Err(EntryError::Unsupported { name: name.to_owned(), kind });
        } else if key == "mtime" {
            attributes.mtime = extension.value().ok().and_then(parse_time).ok_or_else(|| {
                EntryError::Field { name: name.to_owned(), what: "modification time" }
            })?;
        }
    }
    Ok(())
}

/// A PAX time: decimal seconds, possibly negative, possibly with a fraction.
fn parse_time(text: &str) -> Option<(i64, u32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    // The fraction of a time before 1970 counts backwards; inodes only count forwards.
    Some(if whole.starts_with('-') && nanoseconds > 0 {
        clamp_time(seconds.saturating_sub(1), 1_000_000_000 - nanoseconds)
    } else {
        clamp_time(seconds, nanoseconds)
    })
}

/// The nearest time an inode can hold.
fn clamp_time(seconds: i64, nanoseconds: u32) -> (i64, u32) {
    if (MIN_SECONDS..=MAX_SECONDS).contains(&seconds) {
        (seconds, nanoseconds)
    } else {
        (seconds.clamp(MIN_SECONDS, MAX_SECONDS), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(archive: &[u8]) -> Result<ParsedEntry, EntryError> {
        let mut archive = tar::Archive::new(archive);
        parse_entry(&mut archive.entries().unwrap().next().unwrap().unwrap(), 7)
    }

    fn header(kind: EntryType, size: u64) -> tar::Header {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o104_755);
        header.set_uid(10);
        header.set_gid(20);
        header.set_mtime(30);
        header
    }

    #[test]
    fn reads_pax_times_and_attributes() {
        let mut builder = tar::Builder::new(Vec::new());
        builder
            .append_pax_extensions([
                ("mtime", &b"1700000000.25"[..]),
                ("SCHILY.xattr.security.capability", &[1, 0, 0, 2][..]),
            ])
            .unwrap();
        let mut header = header(EntryType::Regular, 3);
        builder.append_data(&mut header, "bin/ping", &b"abc"[..]).unwrap();
        let parsed = first(&builder.into_inner().unwrap()).unwrap();
        let ParsedEntry::Object { path, kind, attributes } = parsed else { panic!("{parsed:?}") };
        assert_eq!((path.as_str(), kind), ("bin/ping", Kind::File { size: 3, source: 7 }));
        assert_eq!((attributes.mode, attributes.uid, attributes.gid), (0o4755, 10, 20));
        assert_eq!(attributes.mtime, (1_700_000_000, 250_000_000));
        assert_eq!(attributes.xattrs["security.capability"], [1, 0, 0, 2]);
    }

    #[test]
    fn refuses_names_that_are_not_utf8() {
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_pax_extensions([("path", &b"caf\xe9"[..])]).unwrap();
        let mut header = header(EntryType::Regular, 0);
        builder.append_data(&mut header, "x", &b""[..]).unwrap();
        let error = first(&builder.into_inner().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "`caf\u{fffd}` has a name that is not UTF-8");
    }

    #[test]
    fn refuses_sparse_files_in_pax_form() {
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_pax_extensions([("GNU.sparse.major", &b"1"[..])]).unwrap();
        let mut header = header(EntryType::Regular, 0);
        builder.append_data(&mut header, "x", &b""[..]).unwrap();
        let error = first(&builder.into_inner().unwrap()).unwrap_err();
        assert!(matches!(error, EntryError::Unsupported { .. }), "{error}");
    }

    #[test]
    fn times() {
        assert_eq!(parse_time("12"), Some((12, 0)));
        assert_eq!(parse_time("12.5"), Some((12, 500_000_000)));
        assert_eq!(parse_time("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(parse_time("12.1234567891"), Some((12, 123_456_789)));
        assert_eq!(parse_time("99999999999"), Some((MAX_SECONDS, 0)));
        for bad in ["", "x", "1.x", "1e3"] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }
}
