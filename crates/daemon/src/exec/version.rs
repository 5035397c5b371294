//! Versions of programs.

use std::fmt;

/// As far as anything depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    /// This one.
    pub(crate) const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// The one that is written so: `1.16.1`, `2.39.5`, `1.17.0-dev`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse().ok());
        Some(Self { major: numbers.next()?, minor: numbers.next()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_numbers_count() {
        for text in ["1.16.1", "1.16", "1.16.0-dev", "1.16~rc1"] {
            assert_eq!(Version::parse(text), Some(Version::new(1, 16)), "{text}");
        }
        for text in ["", "1", "v1.16", "new", "99999999999.1"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
        assert!(
            Version::new(1, 9) < Version::new(1, 16) && Version::new(2, 0).to_string() == "2.0"
        );
    }
}
