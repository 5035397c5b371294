//! Paths as a person writes them: what their end says.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The name of what `path` names: none for `/`, and for what ends in `.` or `..`, whose contents
/// are meant. ([`Path`] itself takes `a/.` for `a`.)
#[must_use]
pub fn name_of(path: &Path) -> Option<&OsStr> {
    let last = trimmed(path).rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    (!matches!(last, b"" | b"." | b"..")).then(|| OsStr::from_bytes(last))
}

/// Whether a slash says that a directory is meant.
pub(crate) fn ends_in_slash(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/")
}

/// Where what `path` names is.
pub(crate) fn parent_of(path: &Path) -> &Path {
    let trimmed = trimmed(path);
    let parent = match trimmed.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => &trimmed[..=slash],
        None => b".",
    };
    Path::new(OsStr::from_bytes(parent))
}

/// `path` without slashes at its end.
fn trimmed(path: &Path) -> &[u8] {
    let bytes = path.as_os_str().as_bytes();
    bytes.iter().rposition(|byte| *byte != b'/').map_or(&[], |at| &bytes[..=at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_path_says_what_is_meant() {
        let look = |path: &'static str| {
            let path = Path::new(path);
            (name_of(path).and_then(OsStr::to_str), parent_of(path).to_str().unwrap())
        };
        assert_eq!(look("a"), (Some("a"), "."));
        assert_eq!(look("/a//b//"), (Some("b"), "/a//"));
        assert_eq!(look("/a"), (Some("a"), "/"));
        for contents in ["/", "//", "", ".", "..", "a/.", "a/./", "a/.."] {
            assert_eq!(look(contents).0, None, "{contents}");
        }
        assert_eq!(look("a/..b").0, Some("..b"));
    }
}
