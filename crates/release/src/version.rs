//! Versions of releases (semver.org 2.0.0, without build metadata), and what is called after them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What this program runs on, as names of archives have it.
pub const TARGET: &str = "x86_64-linux";

/// Longest version, in bytes: it becomes part of a file's name.
const MAX_LENGTH: usize = 64;

/// A release's version, `v1.2.3` or, ahead of that one, `v1.2.3-rc.1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(semver::Version);

/// Why a text is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no version: `v1.2.3` is one")]
pub struct ParseVersionError(String);

impl Version {
    /// The name of the archive of this release for [`TARGET`].
    #[must_use]
    pub fn archive(&self) -> String {
        format!("{}.tar.gz", self.directory())
    }

    /// The one directory in that archive.
    #[must_use]
    pub fn directory(&self) -> String {
        format!("banger-{self}-{TARGET}")
    }

    /// Whether it is ahead of a release and not one itself.
    #[must_use]
    pub fn is_preview(&self) -> bool {
        !self.0.pre.is_empty()
    }
}

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, ParseVersionError> {
        let refused = || ParseVersionError(text.chars().take(MAX_LENGTH).collect());
        if text.len() > MAX_LENGTH {
            return Err(refused());
        }
        let numbers = text.strip_prefix('v').unwrap_or(text);
        let version = semver::Version::parse(numbers).map_err(|_| refused())?;
        if version.build.is_empty() { Ok(Self(version)) } else { Err(refused()) }
    }
}

impl TryFrom<String> for Version {
    type Error = ParseVersionError;

    fn try_from(text: String) -> Result<Self, ParseVersionError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn versions_are_in_order() {
        assert!(version("v0.9.0") < version("v0.10.0"));
        assert!(version("v1.0.0-rc.2") < version("v1.0.0"));
        assert!(version("1.0.0-rc.1").is_preview() && !version("1.0.0").is_preview());
        assert_eq!(version("1.2.3").archive(), "banger-v1.2.3-x86_64-linux.tar.gz");
    }

    #[test]
    fn nothing_else_becomes_part_of_a_path() {
        let long = format!("1.2.3-{}", "a".repeat(64));
        for text in [
            "",
            "v",
            "1.2",
            "v1.2.3+x",
            "../1.2.3",
            "v1.2.3/..",
            "1.2.3-a/b",
            "vv1.2.3",
            "v1.2.3\n",
            &long,
        ] {
            text.parse::<Version>().unwrap_err();
        }
    }
}
