//! Names of images, read as Docker reads them
//! (<https://github.com/distribution/reference>): what is left out is filled in.
//!
//! ```text
//! [host[:port]/]path[/path…][:tag][@sha256:digest]
//! ```
//!
//! The first part is a host only if it has a `.` or a `:` or is `localhost`; otherwise the image
//! is Docker Hub's. Every text that is accepted names exactly one image, and writing a
//! [`Reference`] in either of its forms and reading that gives the same one back.

use std::fmt;
use std::str::FromStr;

use super::digest::{Digest, DigestError};

/// The registry of names without one.
const DOCKER_HUB: &str = "docker.io";

/// Another name of the same registry, from its first days.
const DOCKER_HUB_OLD: &str = "index.docker.io";

/// Where Docker Hub keeps images whose name has a single part.
const OFFICIAL: &str = "library/";

/// The tag of names with neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";

/// Longest registry and path together, in bytes.
const MAX_NAME: usize = 255;

/// Longest tag, in bytes.
const MAX_TAG: usize = 128;

/// The name of an image in a registry.
///
/// ```
/// let reference: banger_proto::Reference = "alpine".parse()?;
/// assert_eq!(reference.canonical(), "docker.io/library/alpine:latest");
/// assert_eq!(reference.familiar(), "alpine:latest");
/// # Ok::<(), banger_proto::oci::ReferenceError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// There is nothing, or nothing before the tag or the digest.
    #[error("`{0}` has no image name")]
    Empty(String),
    /// A scheme is not part of a name.
    #[error("`{0}` is an address: leave out what is before and including `://`")]
    Address(String),
    /// The registry is no host name or its port no port.
    #[error("`{registry}` is not the name of a registry (`host` or `host:port`)")]
    Registry {
        /// What stands before the first `/`.
        registry: String,
    },
    /// Names are written in lower case.
    #[error("`{part}` has capital letters; names of images have none")]
    Capitals {
        /// The part of the name.
        part: String,
    },
    /// A part is empty or has characters or separators that it cannot have.
    #[error(
        "`{part}` cannot be part of an image name: use a-z and 0-9, separated by `.`, `_`, `__` or `-`"
    )]
    Part {
        /// The part of the name.
        part: String,
    },
    /// The tag is empty, too long, or has other characters.
    #[error(
        "`{tag}` is not a tag: use up to 128 of A-Z, a-z, 0-9, `_`, `.` and `-`, not beginning with `.` or `-`"
    )]
    Tag {
        /// The tag.
        tag: String,
    },
    /// The digest is none.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// The name as a whole is too long.
    #[error("the image name `{0}…` is longer than 255 bytes")]
    TooLong(String),
    /// 64 hexadecimal digits are an image's id, which no registry knows.
    #[error("`{0}` is an image's id, not its name; write `NAME@sha256:{0}`")]
    Id(String),
}

impl Reference {
    /// The registry: `docker.io`, `localhost:5000`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path of the image in its registry: `library/alpine`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag. Where there is a digest, too, it is the digest that counts.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest or index.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The whole name: `docker.io/library/alpine:latest`.
    #[must_use]
    pub fn canonical(&self) -> String {
        self.render(&format!("{}/{}", self.registry, self.repository))
    }

    /// The name as people write it: `alpine:latest`, `localhost:5000/x:tag`.
    #[must_use]
    pub fn familiar(&self) -> String {
        if self.registry != DOCKER_HUB {
            return self.canonical();
        }
        match self.repository.strip_prefix(OFFICIAL) {
            // `library/user/x` would be read as the image of a user called `library`.
            Some(name) if !name.contains('/') && !is_id(name) => self.render(name),
            _ if is_host(self.repository.split('/').next().unwrap_or_default()) => self.canonical(),
            _ => self.render(&self.repository),
        }
    }

    fn render(&self, name: &str) -> String {
        let mut text = name.to_owned();
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }
}

/// The canonical form.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains("://") {
            return Err(ReferenceError::Address(text.to_owned()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        // A `:` before the last `/` is that of a port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(parse_tag(tag)?)),
            _ => (rest, None),
        };
        if name.is_empty() {
            return Err(ReferenceError::Empty(text.to_owned()));
        }
        if name.len() > MAX_NAME {
            return Err(ReferenceError::TooLong(name.chars().take(40).collect()));
        }
        if is_id(name) {
            return Err(ReferenceError::Id(name.to_owned()));
        }
        let (registry, path) = match name.split_once('/') {
            Some((DOCKER_HUB_OLD, path)) => (DOCKER_HUB, path),
            Some((host, path)) if is_host(host) => (host, path),
            _ => (DOCKER_HUB, name),
        };
        check_registry(registry)?;
        path.split('/').try_for_each(check_part)?;
        let repository = match path.contains('/') {
            false if registry == DOCKER_HUB => format!("{OFFICIAL}{path}"),
            _ => path.to_owned(),
        };
        let tag = match (tag, &digest) {
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (tag, _) => tag,
        };
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }
}

/// Whether the first part of a name is a registry and not a user of Docker Hub.
fn is_host(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost" || part.chars().any(|c| c.is_ascii_uppercase())
}

fn is_id(name: &str) -> bool {
    Digest::parse_hex(name).is_ok()
}

fn parse_tag(tag: &str) -> Result<String, ReferenceError> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let good = tag.len() <= MAX_TAG
        && tag.starts_with(word)
        && tag.chars().all(|c| word(c) || c == '.' || c == '-');
    match good {
        true => Ok(tag.to_owned()),
        false => Err(ReferenceError::Tag { tag: tag.chars().take(MAX_TAG).collect() }),
    }
}

fn check_registry(registry: &str) -> Result<(), ReferenceError> {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    // An IPv6 address stands in brackets.
    let (good, port) = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => (address.parse::<std::net::Ipv6Addr>().is_ok(), port),
        None => {
            let at = registry.find(':').unwrap_or(registry.len());
            (registry[..at].split('.').all(label), &registry[at..])
        }
    };
    let good_port = port.is_empty()
        || port.strip_prefix(':').is_some_and(|digits| {
            digits.chars().all(|c| c.is_ascii_digit()) && digits.parse::<u16>().is_ok()
        });
    match good && good_port {
        true => Ok(()),
        false => Err(ReferenceError::Registry { registry: registry.to_owned() }),
    }
}

/// A part is words of a-z and 0-9 with one separator between each two.
fn check_part(part: &str) -> Result<(), ReferenceError> {
    if part.chars().any(|c| c.is_ascii_uppercase()) {
        return Err(ReferenceError::Capitals { part: part.to_owned() });
    }
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good_separator = |separator: &str| {
        matches!(separator, "" | "." | "_" | "__") || separator.chars().all(|c| c == '-')
    };
    let good =
        part.starts_with(word) && part.ends_with(word) && part.split(word).all(good_separator);
    match good {
        true => Ok(()),
        false => Err(ReferenceError::Part { part: part.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn forms(text: &str) -> (String, String) {
        let reference: Reference = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        (reference.canonical(), reference.familiar())
    }

    #[test]
    fn short_names_are_filled_in() {
        for (text, canonical, familiar) in [
            ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"),
            ("user/x", "docker.io/user/x:latest", "user/x:latest"),
            ("library/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("index.docker.io/user/x", "docker.io/user/x:latest", "user/x:latest"),
            ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            ("localhost:5000/x:t", "localhost:5000/x:t", "localhost:5000/x:t"),
            ("host:5000/x", "host:5000/x:latest", "host:5000/x:latest"),
            ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
            (
                "ghcr.io/a/b_c/d__e-f.g--h",
                "ghcr.io/a/b_c/d__e-f.g--h:latest",
                "ghcr.io/a/b_c/d__e-f.g--h:latest",
            ),
        ] {
            assert_eq!(forms(text), (canonical.to_owned(), familiar.to_owned()), "{text}");
        }
        let pinned = format!("alpine@sha256:{HEX}");
        assert_eq!(forms(&pinned), (format!("docker.io/library/{pinned}"), pinned));
        let both = format!("x.io/a:t@sha256:{HEX}");
        assert_eq!(forms(&both), (both.clone(), both));
    }

    #[test]
    fn errors_name_the_part_that_is_wrong() {
        let error = |text: &str| text.parse::<Reference>().unwrap_err();
        assert_eq!(error(""), ReferenceError::Empty(String::new()));
        assert_eq!(error(":tag"), ReferenceError::Empty(":tag".into()));
        assert_eq!(error("https://a/b"), ReferenceError::Address("https://a/b".into()));
        assert_eq!(error("Alpine"), ReferenceError::Capitals { part: "Alpine".into() });
        assert_eq!(error("a/B"), ReferenceError::Capitals { part: "B".into() });
        for (text, part) in
            [("a//b", ""), ("a/../b", ".."), ("a/", ""), ("-a", "-a"), ("a_-b", "a_-b"), ("é", "é")]
        {
            assert_eq!(error(text), ReferenceError::Part { part: part.into() }, "{text}");
        }
        for (text, registry) in [
            ("a..b/x", "a..b"),
            ("a:b/x", "a:b"),
            ("a:99999/x", "a:99999"),
            ("a:+80/x", "a:+80"),
            ("[::g]:1/x", "[::g]:1"),
            ("-a.io/x", "-a.io"),
        ] {
            assert_eq!(error(text), ReferenceError::Registry { registry: registry.into() });
        }
        assert!(matches!(error("user@host.io/x"), ReferenceError::Digest(_)));
        assert_eq!(error("a:"), ReferenceError::Tag { tag: String::new() });
        assert_eq!(error("a:.x"), ReferenceError::Tag { tag: ".x".into() });
        assert!(matches!(error(&format!("a:{}", "t".repeat(129))), ReferenceError::Tag { .. }));
        assert!(matches!(error("a@sha512:00"), ReferenceError::Digest(_)));
        assert_eq!(error(HEX), ReferenceError::Id(HEX.into()));
        assert!(matches!(error(&"a/".repeat(200)), ReferenceError::TooLong(_)));
    }

    proptest! {
        #[test]
        fn both_forms_name_the_same_image(
            text in "(([a-z0-9]{1,5}(\\.[a-z]{2,3})?|localhost|library)(:[0-9]{1,4})?/)?[a-z0-9]{1,6}([._-]{1,2}[a-z0-9]{1,4})?(/[a-z0-9]{1,4}){0,2}(:[A-Za-z0-9_][A-Za-z0-9._-]{0,6})?(@sha256:[0-9a-f]{64})?",
        ) {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(&reference.canonical().parse::<Reference>().unwrap(), &reference);
                prop_assert_eq!(&reference.familiar().parse::<Reference>().unwrap(), &reference);
                prop_assert_eq!(&reference.to_string(), &reference.canonical());
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.canonical().parse::<Reference>().unwrap(), reference);
            }
        }
    }
}
