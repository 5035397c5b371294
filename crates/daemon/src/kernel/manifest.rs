//! What is written about a kernel, beside it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::KernelError;
use super::features::{Features, Modules};

/// Longest description, in characters.
const MAX_DESCRIPTION: usize = 200;
/// Longest of the other texts, in characters.
const MAX_WORD: usize = 64;

/// What is written about a kernel. Only the version is needed, so that one can be written by hand.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// One line about it.
    #[serde(default)]
    pub(crate) description: String,
    /// Distribution it comes from.
    #[serde(default)]
    pub(crate) distro: String,
    /// Architecture as the distribution calls it.
    #[serde(default)]
    pub(crate) arch: String,
    /// Version, as `uname -r` gives it.
    pub(crate) version: String,
    /// Options of its configuration, `y`, `m` or `n`; what is missing nobody looked at.
    #[serde(default)]
    pub(crate) features: Features,
    /// Names of the modules it comes with, with underscores; empty when nobody listed them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) modules: Vec<String>,
    /// How many modules programs in a guest may ask for; absent when nobody counted them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) loadable_modules: Option<u32>,
}

impl Manifest {
    /// Reads a manifest that somebody else wrote; `path` is where it was.
    ///
    /// # Errors
    /// When it is none, or holds texts that no kernel has: they are shown on terminals.
    pub(crate) fn parse(text: &[u8], path: &Path) -> Result<Self, KernelError> {
        let manifest: Self = serde_json::from_slice(text)
            .map_err(|source| KernelError::Manifest { path: path.to_owned(), source })?;
        let line =
            |text: &str, limit| text.chars().count() <= limit && !text.contains(char::is_control);
        let word = |text: &str| line(text, MAX_WORD) && !text.contains(char::is_whitespace);
        let odd = if !line(&manifest.description, MAX_DESCRIPTION) {
            Some("description")
        } else if manifest.version.is_empty() || !word(&manifest.version) {
            Some("version")
        } else if !word(&manifest.distro) {
            Some("distro")
        } else if !word(&manifest.arch) {
            Some("arch")
        } else if !manifest.modules.iter().all(|name| word(name)) {
            Some("modules")
        } else if !manifest
            .features
            .iter()
            .all(|(name, value)| word(name) && "ymn".contains(*value))
        {
            Some("features")
        } else {
            None
        };
        match odd {
            Some(field) => Err(KernelError::ManifestField { path: path.to_owned(), field }),
            None => Ok(manifest),
        }
    }

    /// The manifest as it is written.
    ///
    /// # Errors
    /// Never for what [`parse`](Self::parse) takes.
    pub(crate) fn render(&self, path: &Path) -> Result<Vec<u8>, KernelError> {
        serde_json::to_vec_pretty(self)
            .map_err(|source| KernelError::Manifest { path: path.to_owned(), source })
    }

    /// The modules of a kernel that `has` some or not.
    pub(crate) fn modules(&self, has: bool) -> Modules<'_> {
        match has {
            false => Modules::None,
            true if self.modules.is_empty() => Modules::Unlisted,
            true => Modules::Listed(&self.modules),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Manifest, String> {
        Manifest::parse(text.as_bytes(), Path::new("m")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_version_is_enough() {
        let manifest = parse(r#"{"version":"6.12"}"#).unwrap();
        assert_eq!(manifest, Manifest { version: "6.12".into(), ..Manifest::default() });
        let text = String::from_utf8(manifest.render(Path::new("m")).unwrap()).unwrap();
        assert_eq!(parse(&text).unwrap(), manifest);
    }

    #[test]
    fn texts_that_could_steer_a_terminal_are_refused() {
        assert_eq!(parse("{}").unwrap_err(), "cannot read the manifest `m`");
        for (field, bad) in [
            ("description", r#"{"version":"6","description":"\u001b[2J"}"#),
            ("version", r#"{"version":""}"#),
            ("version", r#"{"version":"6 7"}"#),
            ("distro", r#"{"version":"6","distro":"a\nb"}"#),
            ("arch", r#"{"version":"6","arch":"\u0007"}"#),
            ("modules", r#"{"version":"6","modules":["a b"]}"#),
            ("features", r#"{"version":"6","features":{"A":"x"}}"#),
        ] {
            let wrong = format!("the manifest `m` has an impossible `{field}`");
            assert_eq!(parse(bad).unwrap_err(), wrong);
        }
    }
}
