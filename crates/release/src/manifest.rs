//! `manifest.json`: which releases a server has. Not signed: see the crate's first lines for what
//! it is believed.

use serde::{Deserialize, Serialize};

use crate::{ReleaseError, Version};

/// Form of the list that this program knows.
const SCHEMA: u32 = 1;

/// Largest list, in bytes.
pub(crate) const MAX_SIZE: usize = 1 << 20;

/// The list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of its form.
    schema: u32,
    /// The releases, in any order.
    pub releases: Vec<Release>,
}

/// A release in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Which.
    pub version: Version,
    /// What there are programs for, such as `x86_64-linux`.
    pub targets: Vec<String>,
}

impl Manifest {
    /// Reads a list.
    ///
    /// # Errors
    /// When it is none, or of another form.
    pub fn parse(text: &[u8]) -> Result<Self, ReleaseError> {
        let manifest: Self = serde_json::from_slice(text).map_err(ReleaseError::Manifest)?;
        if manifest.schema != SCHEMA {
            return Err(ReleaseError::Schema(manifest.schema));
        }
        Ok(manifest)
    }

    /// The newest release that is no preview.
    #[must_use]
    pub fn newest(&self) -> Option<&Release> {
        let finished = self.releases.iter().filter(|release| !release.version.is_preview());
        finished.max_by(|one, other| one.version.cmp(&other.version))
    }

    /// The release `version`.
    #[must_use]
    pub fn find(&self, version: &Version) -> Option<&Release> {
        self.releases.iter().find(|release| release.version == *version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previews_are_for_who_asks_for_them() {
        let text = br#"{"schema": 1, "releases": [
            {"version": "v0.9.0", "targets": ["x86_64-linux"]},
            {"version": "v0.10.0", "targets": ["x86_64-linux"], "published": "2026-08-05"},
            {"version": "v1.0.0-rc.1", "targets": []}]}"#;
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(manifest.newest().unwrap().version.to_string(), "v0.10.0");
        assert!(manifest.find(&"1.0.0-rc.1".parse().unwrap()).is_some());
        assert!(manifest.find(&"1.0.0".parse().unwrap()).is_none());
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "{}",
            r#"{"schema": 2, "releases": []}"#,
            r#"{"schema": 1, "releases": [{"version": "../../x", "targets": []}]}"#,
        ] {
            Manifest::parse(text.as_bytes()).unwrap_err();
        }
    }
}
