//! What a program was built from. Only its `main.rs` knows, by variables that are set while it is
//! compiled, so that another stamp compiles nothing anew but that file.

use std::sync::OnceLock;

/// What this program was built from, said once by [`announce`].
static BUILD: OnceLock<Build> = OnceLock::new();

/// What a program was built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Build {
    /// Its version, `1.2.3`: the release's, else that of the source.
    pub version: &'static str,
    /// The commit, hexadecimal; absent in a build that is no release.
    pub commit: Option<&'static str>,
    /// When the commit was made, RFC 3339; absent in a build that is no release. Not when it was
    /// compiled: the same source makes the same program.
    pub built_at: Option<&'static str>,
    /// Where the releases of it are, an address without a slash at its end; absent where there are none.
    pub releases: Option<&'static str>,
    /// The public key that they are signed with, PEM; absent where there are none.
    pub release_key: Option<&'static str>,
}

impl Build {
    /// A build of this source that is no release.
    #[must_use]
    pub const fn of_source() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: None,
            built_at: None,
            releases: None,
            release_key: None,
        }
    }

    /// The same of another version, where there is one.
    #[must_use]
    pub const fn versioned(self, version: Option<&'static str>) -> Self {
        match version {
            Some(version) => Self { version, ..self },
            None => self,
        }
    }

    /// It in one line: `0.1.0 (0123456789ab, 2026-08-05T12:00:00Z)`.
    #[must_use]
    pub fn render(&self) -> String {
        match (self.commit, self.built_at) {
            (Some(commit), Some(at)) => {
                format!("{} ({}, {at})", self.version, commit.get(..12).unwrap_or(commit))
            }
            _ => format!("{} (built from source)", self.version),
        }
    }
}

/// The stamp that the program being compiled gets: from variables that `scripts/publish-release.sh`
/// sets.
#[macro_export]
macro_rules! stamp {
    () => {
        $crate::build::Build {
            commit: option_env!("BANGER_BUILD_COMMIT"),
            built_at: option_env!("BANGER_BUILD_TIME"),
            releases: option_env!("BANGER_BUILD_RELEASES"),
            release_key: option_env!("BANGER_BUILD_KEY"),
            ..$crate::build::Build::of_source().versioned(option_env!("BANGER_BUILD_VERSION"))
        }
    };
}

/// Says what this program was built from; the first word counts. `main` does it before all else.
pub fn announce(build: Build) {
    let _ = BUILD.set(build);
}

/// What this program was built from; the version of the source where nobody has said.
#[must_use]
pub fn current() -> Build {
    BUILD.get().copied().unwrap_or(Build::of_source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_says_what_it_is() {
        let source = Build::of_source();
        assert_eq!(source.render(), format!("{} (built from source)", env!("CARGO_PKG_VERSION")));
        let commit = Some("0123456789abcdef0123456789abcdef01234567");
        let built_at = Some("2026-08-05T12:00:00Z");
        let release = Build { commit, built_at, ..source.versioned(Some("1.2.3")) };
        assert_eq!(release.render(), "1.2.3 (0123456789ab, 2026-08-05T12:00:00Z)");
        assert_eq!(
            Build { commit: Some("ab"), ..release }.render(),
            "1.2.3 (ab, 2026-08-05T12:00:00Z)"
        );
    }
}
