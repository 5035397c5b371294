//! PAX extended headers: records of `LENGTH KEY=VALUE\n` (POSIX, pax(1)). Pure.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::number::{parse_decimal, parse_time};
use super::sparse::PaxSparse;
use crate::tree::Xattrs;

/// Extended attributes as star, GNU tar and Go keep them: the value as it is.
const XATTR: &[u8] = b"SCHILY.xattr.";
/// Extended attributes as libarchive keeps them: the name as in a URL, the value in base64.
const LIBARCHIVE_XATTR: &[u8] = b"LIBARCHIVE.xattr.";
/// GNU tar's sparse files.
const SPARSE: &[u8] = b"GNU.sparse.";
/// Namespaces that Linux stores. Archives of other systems have others (`com.apple.`), which no
/// program can set here.
const NAMESPACES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
/// Attributes that would mean something to the overlay that a VM mounts over its image.
const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// What the extended headers of one entry say.
#[derive(Debug, Clone, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: Xattrs,
    pub(super) sparse: PaxSparse,
}

/// Which header a record stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// It describes the next entry.
    Entry,
    /// It describes all that follow: names and sizes of one entry are of no use there.
    All,
}

impl Pax {
    /// Takes over all records of `body`; says what is wrong where one is.
    pub(super) fn apply(&mut self, body: &[u8], scope: Scope) -> Result<(), &'static str> {
        let mut rest = body;
        // Padding with NULs is not in the standard, and is read by everybody.
        while rest.first().is_some_and(|&byte| byte != 0) {
            let (key, value, after) = parse_record(rest).ok_or("a PAX record")?;
            self.set(key, value, scope)?;
            rest = after;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8], scope: Scope) -> Result<(), &'static str> {
        // An empty value takes a key back (POSIX).
        fn parsed<T>(
            value: &[u8],
            what: &'static str,
            parse: impl Fn(&[u8]) -> Option<T>,
        ) -> Result<Option<T>, &'static str> {
            if value.is_empty() { Ok(None) } else { parse(value).map(Some).ok_or(what) }
        }
        match key {
            b"mtime" => self.mtime = parsed(value, "modification time", parse_time)?,
            b"uid" => self.uid = parsed(value, "owner", parse_decimal)?,
            b"gid" => self.gid = parsed(value, "group", parse_decimal)?,
            _ if scope == Scope::All => {}
            b"path" => self.path = (!value.is_empty()).then(|| value.to_vec()),
            b"linkpath" => self.link = (!value.is_empty()).then(|| value.to_vec()),
            b"size" => self.size = parsed(value, "size", parse_decimal)?,
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    self.set_xattr(name, value);
                } else if let Some(name) = key.strip_prefix(LIBARCHIVE_XATTR) {
                    let name = parse_url(name).ok_or("name of an extended attribute")?;
                    let value = parse_base64(value).ok_or("value of an extended attribute")?;
                    self.set_xattr(&name, &value);
                } else if let Some(key) = key.strip_prefix(SPARSE) {
                    self.sparse.set(key, value).ok_or("map of a sparse file")?;
                }
            }
        }
        Ok(())
    }

    fn set_xattr(&mut self, name: &[u8], value: &[u8]) {
        // As for every key; what makes and reads layers elsewhere knows no empty attribute either.
        if value.is_empty() {
            self.xattrs.remove(name);
            return;
        }
        let acl = matches!(name, b"system.posix_acl_access" | b"system.posix_acl_default");
        let known =
            NAMESPACES.iter().any(|space| name.len() > space.len() && name.starts_with(space));
        if (acl || known) && !OVERLAY.iter().any(|space| name.starts_with(space)) {
            self.xattrs.set(name, value);
        }
    }
}

/// The first record of `body` and what follows it. The length counts the whole record, its own
/// digits and the line feed.
fn parse_record(body: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = body.iter().take(20).position(|&byte| byte == b' ')?;
    let length = usize::try_from(parse_decimal(&body[..space])?).ok()?;
    let (record, rest) = body.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], rest))
}

/// Replaces `%XX` by the byte that it means.
fn parse_url(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        bytes.push(u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    Some(bytes)
}

/// Base64 with or without its padding: libarchive writes none.
fn parse_base64(text: &[u8]) -> Option<Vec<u8>> {
    const CONFIG: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&base64::alphabet::STANDARD, CONFIG).decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &str) -> Vec<u8> {
        let rest = format!(" {key}={value}\n");
        format!("{}{rest}", rest.len() + 2).into_bytes()
    }

    fn read(body: &[u8]) -> Result<Pax, &'static str> {
        let mut pax = Pax::default();
        pax.apply(body, Scope::Entry)?;
        Ok(pax)
    }

    #[test]
    fn values_are_any_bytes() {
        let pax = read(b"13 path=a\nb\xff\n27 SCHILY.xattr.user.x=\n=\0\n12 mtime=.5\n");
        assert_eq!(pax.unwrap_err(), "modification time");
        let pax = read(b"13 path=a\nb\xff\n27 SCHILY.xattr.user.x=\n=\0\n11 mtime=5\n").unwrap();
        assert_eq!(pax.path.unwrap(), b"a\nb\xff");
        assert_eq!(pax.xattrs.get(b"user.x").unwrap(), b"\n=\0");
        assert_eq!(pax.mtime, Some((5, 0)));
    }

    #[test]
    fn attributes_of_libarchive() {
        let pax = read(b"38 LIBARCHIVE.xattr.user.a%3Db=AAEC/w\n").unwrap();
        assert_eq!(pax.xattrs.get(b"user.a=b").unwrap(), [0, 1, 2, 255]);
        assert!(read(b"34 LIBARCHIVE.xattr.user.a%3=AAEC\n").is_err());
    }

    #[test]
    fn an_empty_value_takes_an_attribute_back() {
        let body = [record("SCHILY.xattr.user.a", "1"), record("SCHILY.xattr.user.b", "2")];
        let again = [record("SCHILY.xattr.user.a", ""), record("SCHILY.xattr.user.c", "")];
        let pax = read(&[body.concat(), again.concat()].concat()).unwrap();
        let names: Vec<&[u8]> = pax.xattrs.iter().map(|(name, _)| name).collect();
        assert_eq!(names, [b"user.b"]);
    }

    #[test]
    fn attributes_that_linux_cannot_have_are_left_out() {
        let names =
            ["com.apple.quarantine", "trusted.overlay.opaque", "user.overlay.redirect", "x"];
        let body = names.map(|name| record(&format!("SCHILY.xattr.{name}"), "value")).concat();
        let pax = read(&body);
        assert!(pax.unwrap().xattrs.is_empty());
    }

    #[test]
    fn broken_records_are_errors() {
        for bad in [&b"path=x\n"[..], b"9 path=x", b"99 path=x\n", b"3 \n", b"0 a=b\n", b"7 path\n"]
        {
            assert_eq!(read(bad).unwrap_err(), "a PAX record", "{bad:?}");
        }
    }
}
