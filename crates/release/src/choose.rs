//! Which release is wanted, if any: decided before anything is fetched or touched.

use crate::{Manifest, ReleaseError, TARGET, Version};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// This release; absent for the newest.
    pub version: Option<Version>,
    /// Also an older one than there is, and the same one again.
    pub force: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Nothing: this one is what is asked for.
    Same(Version),
    /// To get this one.
    Get(Version),
}

/// What is to be done where `installed` is, of what `manifest` has.
///
/// # Errors
/// When there is no such release, none for this machine, or only an older one.
pub fn choose(
    manifest: &Manifest,
    installed: &Version,
    wanted: &Wanted,
) -> Result<Choice, ReleaseError> {
    let release = match &wanted.version {
        Some(version) => {
            manifest.find(version).ok_or_else(|| ReleaseError::NoSuchRelease(version.clone()))
        }
        None => manifest.newest().ok_or(ReleaseError::NoRelease),
    }?;
    let version = release.version.clone();
    if wanted.force {
    } else if version == *installed {
        return Ok(Choice::Same(version));
    } else if version < *installed {
        return Err(ReleaseError::Older { version, installed: installed.clone() });
    }
    if release.targets.iter().any(|target| target == TARGET) {
        Ok(Choice::Get(version))
    } else {
        Err(ReleaseError::NotForThisMachine(version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(installed: &str, version: Option<&str>, force: bool) -> Result<Choice, ReleaseError> {
        let text = br#"{"schema": 1, "releases": [
            {"version": "v1.0.0", "targets": ["x86_64-linux"]},
            {"version": "v1.1.0", "targets": ["aarch64-linux", "x86_64-linux"]},
            {"version": "v2.0.0-rc.1", "targets": ["aarch64-linux"]}]}"#;
        let manifest = Manifest::parse(text).unwrap();
        let version = version.map(|version| version.parse().unwrap());
        choose(&manifest, &installed.parse().unwrap(), &Wanted { version, force })
    }

    fn get(version: &str) -> Choice {
        Choice::Get(version.parse().unwrap())
    }

    #[test]
    fn the_newest_unless_it_is_here() {
        assert_eq!(decide("1.0.0", None, false).unwrap(), get("v1.1.0"));
        assert_eq!(decide("1.1.0", None, false).unwrap(), Choice::Same("1.1.0".parse().unwrap()));
        assert_eq!(decide("1.1.0", None, true).unwrap(), get("v1.1.0"));
    }

    #[test]
    fn back_only_by_force() {
        let older = decide("1.1.0", Some("v1.0.0"), false).unwrap_err();
        assert_eq!(older.to_string(), "v1.0.0 is older than v1.1.0, which is installed");
        assert_eq!(decide("1.1.0", Some("v1.0.0"), true).unwrap(), get("v1.0.0"));
        // A server whose newest is older than ours is not followed, either.
        assert!(matches!(decide("1.2.0", None, false), Err(ReleaseError::Older { .. })));
    }

    #[test]
    fn not_what_there_is_not() {
        assert!(matches!(
            decide("1.0.0", Some("v3.0.0"), true),
            Err(ReleaseError::NoSuchRelease(_))
        ));
        let other = decide("1.0.0", Some("v2.0.0-rc.1"), true).unwrap_err();
        assert_eq!(other.to_string(), "v2.0.0-rc.1 is not made for x86_64-linux");
    }
}
