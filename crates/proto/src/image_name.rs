//! Names of images, and of kernels: checked by the CLI and again by the daemon, never normalised.
//!
//! ```text
//! plain      debian-bookworm
//! reference  alpine:latest   localhost:5000/team/app:1.2   ghcr.io/x/y@sha256:…
//! ```
//!
//! An image can have either form, a kernel a plain name only. References follow the grammar of
//! <https://pkg.go.dev/github.com/distribution/reference>; which registry a short one means is
//! not decided here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest plain name.
pub const MAX_PLAIN_LEN: usize = 100;
/// Longest name of any form: more than a registry takes without tag and digest (255).
pub const MAX_IMAGE_NAME_LEN: usize = 400;
/// Longest tag.
const MAX_TAG_LEN: usize = 128;
/// The tag that is meant where none is written.
const DEFAULT_TAG: &str = "latest";

/// Whether `name` is a plain one: 1–100 of `a-z`, `0-9`, `.`, `_` and `-`, beginning with a letter
/// or digit. It can be part of a file name as it is.
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_".contains(c);
    name.len() <= MAX_PLAIN_LEN
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(legal)
}

/// Name of an image.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String))]
pub struct ImageName(String);

/// Why a text is not the name of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` cannot be the name of an image: {why}")]
pub struct ParseImageNameError {
    /// The refused text.
    pub name: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl ImageName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a plain name.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        is_plain_name(&self.0)
    }

    /// The name that this one is short for: with the tag that is meant where none is written.
    /// Nothing for a name that says it all.
    #[must_use]
    pub fn with_default_tag(&self) -> Option<Self> {
        let parts = Parts::of(&self.0);
        let complete = parts.tag.is_some() || parts.digest.is_some();
        (!complete).then(|| Self(format!("{}:{DEFAULT_TAG}", self.0)))
    }
}

/// A name taken apart, its parts not checked yet.
struct Parts<'a> {
    host: Option<&'a str>,
    path: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(name: &'a str) -> Self {
        let (rest, digest) = split_last(name, '@');
        // A colon before the last slash is a port's.
        let last = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (rest, tag) = match rest[last..].find(':') {
            Some(colon) => (&rest[..last + colon], Some(&rest[last + colon + 1..])),
            None => (rest, None),
        };
        let (host, path) = match rest.split_once('/') {
            Some((first, path)) if is_host_like(first) => (Some(first), path),
            _ => (None, rest),
        };
        Self { host, path, tag, digest }
    }
}

fn split_last(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.split_once(separator) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// Whether the first part of a path is a registry and not a user, as Docker tells them apart.
fn is_host_like(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':']) || part.chars().any(|c| c.is_ascii_uppercase())
}

fn check(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.len() > MAX_IMAGE_NAME_LEN {
        return Err("it is too long");
    }
    if is_plain_name(name) {
        return Ok(());
    }
    let parts = Parts::of(name);
    if parts.host.is_some_and(|host| !is_host(host)) {
        return Err("what stands before its first `/` is no registry");
    }
    if !parts.path.split('/').all(is_component) {
        return Err("use a-z, 0-9, `.`, `_` and `-`, with `/` between the parts");
    }
    if parts.tag.is_some_and(|tag| !is_tag(tag)) {
        return Err("what stands after its `:` is no tag");
    }
    if parts.digest.is_some_and(|digest| !is_digest(digest)) {
        return Err("what stands after its `@` is not `sha256:` and 64 hexadecimal digits");
    }
    Ok(())
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let legal = match address {
        Some(address) => {
            !address.is_empty() && address.chars().all(|c| c.is_ascii_hexdigit() || c == ':')
        }
        None => name.split('.').all(|label| {
            !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        }),
    };
    legal && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn is_component(part: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    part.starts_with(inner)
        && part.ends_with(inner)
        && part.chars().all(|c| inner(c) || ".-_".contains(c))
        && !part.contains("..")
}

fn is_tag(tag: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= MAX_TAG_LEN
        && tag.starts_with(inner)
        && tag.chars().all(|c| inner(c) || c == '.' || c == '-')
}

fn is_digest(digest: &str) -> bool {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    digest
        .strip_prefix("sha256:")
        .is_some_and(|digits| digits.len() == 64 && digits.chars().all(hex))
}

impl FromStr for ImageName {
    type Err = ParseImageNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match check(text) {
            Ok(()) => Ok(Self(text.to_owned())),
            Err(why) => Err(ParseImageNameError { name: text.to_owned(), why }),
        }
    }
}

impl TryFrom<String> for ImageName {
    type Error = ParseImageNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> Self {
        name.0
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_names() {
        let digest = format!("alpine@sha256:{}", "0a".repeat(32));
        for good in [
            "debian-bookworm",
            "x_",
            "alpine:latest",
            "team/app",
            "localhost/app",
            "localhost:5000/team/app:V1.2_x",
            "[::1]:5000/app",
            "ghcr.io/a/b-c/d__e",
            &digest,
        ] {
            assert_eq!(good.parse::<ImageName>().unwrap().as_str(), good);
        }
        assert!("debian-bookworm".parse::<ImageName>().unwrap().is_plain());
        assert!(!"team/app".parse::<ImageName>().unwrap().is_plain());
    }

    #[test]
    fn what_is_no_name_says_why() {
        let why = |name: &str| name.parse::<ImageName>().unwrap_err().why;
        assert_eq!(why(""), "it is empty");
        assert_eq!(why(&"x".repeat(401)), "it is too long");
        assert_eq!(why("alpine:"), "what stands after its `:` is no tag");
        assert_eq!(why("local host:1/x"), "what stands before its first `/` is no registry");
        assert_eq!(why("localhost:99999/x"), "what stands before its first `/` is no registry");
        assert!(why("alpine@sha256:00").contains("64 hexadecimal"));
        for bad in [
            "..", "../x", "a/../b", "a//b", "/a", "a/", ".work", "A", "a b", "a\n", "a+b",
            "a/b:c:d",
        ] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_default_tag_is_added_once() {
        let full = |name: &str| {
            name.parse::<ImageName>().unwrap().with_default_tag().map(|name| name.to_string())
        };
        assert_eq!(full("alpine").as_deref(), Some("alpine:latest"));
        assert_eq!(full("localhost:5000/x").as_deref(), Some("localhost:5000/x:latest"));
        assert_eq!(full("alpine:3"), None);
        assert_eq!(full(&format!("alpine@sha256:{}", "0".repeat(64))), None);
    }

    #[test]
    fn plain_names_stay_in_their_directory() {
        assert!(is_plain_name("debian-bookworm"));
        for bad in ["", ".", "..", "../x", "a/b", ".work", "A", "a b", "a\n", "a+b", "a:b"] {
            assert!(!is_plain_name(bad), "{bad:?}");
        }
    }
}
