//! How a release is laid out on a disk, and which of its names last.
//!
//! ```text
//! PREFIX/bin/banger             -> ../lib/banger/current/bin/banger
//! PREFIX/lib/banger/current     -> releases/v1.2.3-0123456789ab
//! PREFIX/lib/banger/releases/v1.2.3-0123456789ab/bin/banger
//!                                               /lib/banger/banger-agent ...
//! ```
//!
//! All programs of a release change in one rename of `current`, and what runs of another release
//! keeps its files. Other installations (`make install`, a Debian package, a checkout) have
//! `PREFIX/bin/banger` as a file and know no releases.

use std::path::{Path, PathBuf};

/// Where an installation of releases is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// What everything is beneath.
    pub prefix: PathBuf,
}

impl Installation {
    /// The installation that the program at `executable`, a path without links, is of; none when
    /// it was installed in another way.
    #[must_use]
    pub fn of(executable: &Path) -> Option<Self> {
        let release = executable.parent()?.parent()?;
        let releases = release.parent()?;
        let prefix = releases.parent()?.parent()?.parent()?;
        let found = Self { prefix: prefix.to_owned() };
        (executable == release.join("bin/banger") && releases == found.releases()).then_some(found)
    }

    /// What people call: the name that stays the same from release to release.
    #[must_use]
    pub fn command(&self) -> PathBuf {
        self.prefix.join("bin/banger")
    }

    /// The directory of releases.
    #[must_use]
    pub fn releases(&self) -> PathBuf {
        self.prefix.join("lib/banger/releases")
    }

    /// The link to the release in use, which names it relative to its own directory.
    #[must_use]
    pub fn current(&self) -> PathBuf {
        self.prefix.join("lib/banger/current")
    }
}

/// The name by which the program at `executable` can be called from files that outlive a release.
#[must_use]
pub fn lasting_name(executable: &Path) -> PathBuf {
    Installation::of(executable)
        .map_or_else(|| executable.to_owned(), |installation| installation.command())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_known_by_its_place() {
        let of = |path: &str| Installation::of(Path::new(path));
        let found = of("/usr/local/lib/banger/releases/v1.2.3-0123456789ab/bin/banger").unwrap();
        assert_eq!(found.prefix, Path::new("/usr/local"));
        assert_eq!(found.command(), Path::new("/usr/local/bin/banger"));
        assert_eq!(found.current(), Path::new("/usr/local/lib/banger/current"));
        for other in [
            "/usr/local/bin/banger",
            "/banger",
            "banger",
            "/lib/banger/releases/v1/bin/bangerd",
            "/x/lib/banger/old/v1/bin/banger",
            "/x/lib/banger/releases/v1/lib/banger",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn files_that_last_name_what_lasts() {
        let release = Path::new("/home/jo/.local/lib/banger/releases/v1-ab/bin/banger");
        assert_eq!(lasting_name(release), Path::new("/home/jo/.local/bin/banger"));
        let other = Path::new("/usr/bin/banger");
        assert_eq!(lasting_name(other), other);
    }
}
