//! What a path in an archive may look like. Pure.

use super::TreeError;

/// Longest name of one entry, in bytes: `NAME_MAX`.
const MAX_NAME: usize = 255;
/// Longest path, in bytes: `PATH_MAX`.
const MAX_PATH: usize = 4096;
/// Characters of a name that a message shows.
const MAX_SHOWN: usize = 200;
/// Most directories that are gone through for one name, those of symbolic links included. A path
/// alone has half as many; without a limit forty links would cost eighty thousand.
pub(super) const MAX_STEPS: usize = 4096;

/// A path split in what leads to an entry and the entry's own name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Path<'a> {
    /// The directory, which may have slashes and dots anywhere.
    pub(super) parent: &'a [u8],
    /// The last component; empty for the root.
    pub(super) name: &'a [u8],
}

/// Splits `path`. A leading slash is dropped, as every tar does.
pub(super) fn parse_path(path: &[u8]) -> Result<Path<'_>, TreeError> {
    if path.len() > MAX_PATH {
        return Err(unusable(path, "it is longer than 4096 bytes"));
    }
    for component in components(path) {
        match component {
            b".." => return Err(unusable(path, "it contains `..`")),
            name if name.len() > MAX_NAME => {
                return Err(unusable(path, "a component is longer than 255 bytes"));
            }
            name if name.contains(&0) => return Err(unusable(path, "it contains a NUL")),
            _ => {}
        }
    }
    let mut rest = path;
    loop {
        let slash = rest.iter().rposition(|&byte| byte == b'/');
        let name = slash.map_or(rest, |slash| &rest[slash + 1..]);
        let parent = slash.map_or(&rest[..0], |slash| &rest[..slash]);
        match name {
            b"" | b"." if slash.is_some() => rest = parent,
            b"" | b"." => return Ok(Path { parent, name: b"" }),
            _ => return Ok(Path { parent, name }),
        }
    }
}

/// The components of a path that mean something; `..` is one of them.
pub(super) fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b"."))
}

pub(super) fn unusable(path: &[u8], why: &'static str) -> TreeError {
    TreeError::Name { path: shown(path), why }
}

/// A name as a message shows it: a name may be megabytes long and of any bytes.
#[must_use]
pub fn shown(name: &[u8]) -> String {
    let name = &name[..name.len().min(MAX_SHOWN * 4)];
    let mut text = String::new();
    for char in String::from_utf8_lossy(name).chars().take(MAX_SHOWN) {
        if char.is_control() {
            text.extend(char.escape_default());
        } else {
            text.push(char);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_at_the_last_name() {
        let split = |path: &'static str| {
            let path = parse_path(path.as_bytes()).unwrap();
            (path.parent, path.name)
        };
        assert_eq!(split("a"), (&b""[..], &b"a"[..]));
        assert_eq!(split("./a/b//./"), (&b"./a"[..], &b"b"[..]));
        assert_eq!(split("/etc"), (&b""[..], &b"etc"[..]));
        for root in ["", ".", "/", "./", "/./.", "//"] {
            assert_eq!(split(root).1, b"", "{root}");
        }
    }

    #[test]
    fn names_are_shown_on_one_line() {
        assert_eq!(shown(b"a\nb\xff\x1b"), "a\\nb\u{fffd}\\u{1b}");
        assert_eq!(shown(&[b'x'; 5000]).len(), MAX_SHOWN);
    }
}
