//! Names of images, and of kernels: checked by the CLI and again by the daemon, never normalised.
//!
//! ```text
//! plain      debian-bookworm
//! reference  alpine:latest   localhost:5000/team/app:1.2   ghcr.io/x/y@sha256:…
//! ```
//!
//! An image can have either form, a kernel a plain name only. What a reference is, says
//! [`Reference`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::oci::{Reference, ReferenceError};

/// Longest plain name.
pub const MAX_PLAIN_LEN: usize = 100;
/// The tag that need not be written.
const LATEST: &str = ":latest";

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

    /// The names of images here that mean the same image, this one first: in the familiar form with
    /// its tag, and without a tag that need not be written.
    #[must_use]
    pub fn aliases(&self) -> Vec<Self> {
        let mut aliases = vec![self.clone()];
        if let Ok(reference) = self.0.parse::<Reference>() {
            let familiar = reference.familiar();
            let short = familiar.strip_suffix(LATEST).map(str::to_owned);
            let more = [Some(familiar), short].into_iter().flatten().map(Self);
            aliases.extend(more.filter(|alias| alias != self));
        }
        aliases
    }
}

impl FromStr for ImageName {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !is_plain_name(text) {
            text.parse::<Reference>()?;
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ImageName {
    type Error = ReferenceError;

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
    fn what_is_no_name() {
        for bad in [
            "",
            "..",
            "../x",
            "a/../b",
            "a//b",
            "/a",
            "a/",
            ".work",
            "A",
            "a b",
            "a\n",
            "a+b",
            "a/b:c:d",
            "alpine:",
            "local host:1/x",
            "localhost:99999/x",
            "alpine@sha256:00",
        ] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_means_the_same() {
        let aliases = |name: &str| {
            let aliases = name.parse::<ImageName>().unwrap().aliases();
            aliases.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(aliases("alpine"), ["alpine", "alpine:latest"]);
        assert_eq!(aliases("alpine:latest"), ["alpine:latest", "alpine"]);
        assert_eq!(aliases("alpine:3"), ["alpine:3"]);
        let whole = "docker.io/library/alpine";
        assert_eq!(aliases(whole), [whole, "alpine:latest", "alpine"]);
        assert_eq!(aliases("x_"), ["x_"]);
    }

    #[test]
    fn plain_names_stay_in_their_directory() {
        assert!(is_plain_name("debian-bookworm"));
        for bad in ["", ".", "..", "../x", "a/b", ".work", "A", "a b", "a\n", "a+b", "a:b"] {
            assert!(!is_plain_name(bad), "{bad:?}");
        }
    }
}
