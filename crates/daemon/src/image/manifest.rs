//! What is written about an image that is here, and under which file name.

use std::io;
use std::path::{Path, PathBuf};

use banger_proto::api::RunConfig;
use banger_proto::{ByteSize, ImageName};
use banger_rootfs::digest::{render_hex, sha256};
use serde::{Deserialize, Serialize};

use super::ImageError;

/// Ending of manifests.
pub(super) const MANIFEST_SUFFIX: &str = ".json";
/// Ending of file systems.
pub(super) const EXT4_SUFFIX: &str = ".ext4";
/// Digits of the digest in an image's file name.
const SHORT_DIGEST: usize = 12;
/// Digits of a name's digest in the stem of a name that cannot be a file's.
const NAME_DIGITS: usize = 8;
/// Longest readable part of such a stem.
const MAX_READABLE: usize = 80;

/// What is written about an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Name.
    pub(crate) name: String,
    /// One line about it.
    pub(crate) description: String,
    /// Distribution.
    pub(crate) distro: String,
    /// Architecture as the distribution calls it.
    pub(crate) arch: String,
    /// Identity of the contents, hexadecimal; empty for a file that stays where it is, of which
    /// nobody knows how long it stays the same.
    #[serde(default)]
    pub(crate) digest: String,
    /// Where the ext4 file is.
    #[serde(flatten)]
    pub(crate) location: Location,
    /// Length of the file in bytes.
    pub(crate) size: ByteSize,
    /// When it was made, RFC 3339.
    pub(crate) created_at: String,
    /// Kernel it wants; absent for the default one.
    #[serde(default)]
    pub(crate) kernel_ref: Option<String>,
    /// What it was made of.
    #[serde(default)]
    pub(crate) source: String,
    /// What it says about running it.
    #[serde(default)]
    pub(crate) run: RunConfig,
}

/// Where an image's file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Location {
    /// In the directory of images, whose owner is banger.
    Managed {
        /// Name of the file.
        file: String,
    },
    /// Elsewhere, and the user's.
    Registered {
        /// Absolute path.
        rootfs: PathBuf,
    },
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// When there is none, or it is broken.
    pub(super) fn load(path: &Path) -> Result<Option<Self>, ImageError> {
        let text = match fs_err::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let manifest = serde_json::from_slice(&text)
            .map_err(|source| ImageError::Manifest { path: path.to_owned(), source })?;
        Ok(Some(manifest))
    }

    /// The ext4 file of a manifest in the directory `images`; none for one that leads out of it.
    pub(super) fn path_in(&self, images: &Path) -> Option<PathBuf> {
        match &self.location {
            Location::Managed { file } => {
                (Path::new(file).file_name() == Some(file.as_ref())).then(|| images.join(file))
            }
            Location::Registered { rootfs } => Some(rootfs.clone()),
        }
    }

    /// Name of the file in the directory of images, when it is there.
    pub(super) fn managed(&self) -> Option<&str> {
        match &self.location {
            Location::Managed { file } => Some(file),
            Location::Registered { .. } => None,
        }
    }
}

/// Stem of the files of the image `name`: the name itself where it is a plain one, else what can
/// be read of it and the beginning of its digest, which keeps names apart that look alike.
pub(super) fn file_stem(name: &ImageName) -> String {
    if name.is_plain() {
        return name.to_string();
    }
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_".contains(c);
    let readable: String = name
        .as_str()
        .chars()
        .map(|c| if legal(c) { c } else { '-' })
        .skip_while(|c| !c.is_ascii_alphanumeric())
        .take(MAX_READABLE)
        .collect();
    format!("{readable}-{}", shorten(&digest_of(name.as_str()), NAME_DIGITS))
}

/// Name of an image's file.
pub(super) fn file_name(name: &ImageName, digest: &str) -> String {
    format!("{}-{}{EXT4_SUFFIX}", file_stem(name), shorten(digest, SHORT_DIGEST))
}

/// SHA-256 of a text, hexadecimal.
pub(crate) fn digest_of(text: &str) -> String {
    // Reading memory cannot fail.
    render_hex(&sha256(&mut text.as_bytes()).unwrap_or_default())
}

fn shorten(digest: &str, digits: usize) -> &str {
    digest.get(..digits).unwrap_or(digest)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A manifest of an image with contents of this digest.
    pub(in crate::image) fn manifest(name: &str, digest: &str) -> Manifest {
        Manifest {
            name: name.into(),
            description: "one".into(),
            distro: "debian".into(),
            arch: "amd64".into(),
            digest: digest.into(),
            location: Location::Managed { file: file_name(&name.parse().unwrap(), digest) },
            size: ByteSize::from_bytes(1),
            created_at: "2026-01-01T00:00:00Z".into(),
            kernel_ref: None,
            source: "a test".into(),
            run: RunConfig::default(),
        }
    }

    #[test]
    fn stems_are_file_names_and_differ() {
        let stem = |name: &str| file_stem(&name.parse().unwrap());
        assert_eq!(stem("debian-bookworm"), "debian-bookworm");
        assert_eq!(stem("alpine:latest"), "alpine-latest-958f4196");
        assert_ne!(stem("team/app"), stem("team/app:latest"));
        let long = stem(&format!("[::1]:5000/{}", "x".repeat(200)));
        assert!(long.starts_with("1--5000-xxx") && long.len() == MAX_READABLE + 9, "{long}");
        assert!(banger_proto::image_name::is_plain_name(&long));
    }

    #[test]
    fn both_locations_are_written_and_read() {
        let here = manifest("x", "0123456789abcdef");
        let text = serde_json::to_string(&here).unwrap();
        assert!(text.contains(r#""file":"x-0123456789ab.ext4""#), "{text}");
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), here);
        let elsewhere = Manifest {
            location: Location::Registered { rootfs: "/srv/x.ext4".into() },
            digest: String::new(),
            ..here
        };
        let text = serde_json::to_string(&elsewhere).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), elsewhere);
        assert_eq!(elsewhere.path_in(Path::new("/images")), Some("/srv/x.ext4".into()));
    }

    #[test]
    fn a_file_outside_is_not_followed() {
        let outside =
            Manifest { location: Location::Managed { file: "../x".into() }, ..manifest("x", "0") };
        assert_eq!(outside.path_in(Path::new("/images")), None);
    }
}
