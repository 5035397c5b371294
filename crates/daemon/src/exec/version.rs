//! Versions of programs.

use std::fmt;
use std::path::Path;

use super::{ExecError, HostEnv, Program};

/// Most bytes that a program may say of itself.
const ANSWER_LIMIT: usize = 64 << 10;

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

/// What `program` says that its version is, behind `before`, as text and as numbers; `None` when it says
/// something else.
///
/// # Errors
/// When it does not answer.
pub(crate) async fn ask_version(
    env: &HostEnv,
    program: &Path,
    before: &str,
) -> Result<Option<(String, Version)>, ExecError> {
    let answer = Program::new(env, program).arg("--version").output(ANSWER_LIMIT).await?;
    let answer = String::from_utf8_lossy(&answer);
    Ok(parse_answer(&answer, before).map(|(text, version)| (text.to_owned(), version)))
}

fn parse_answer<'a>(answer: &'a str, before: &str) -> Option<(&'a str, Version)> {
    let (_, rest) = answer.split_once(before)?;
    let text = rest.split_whitespace().next()?;
    Some((text, Version::parse(text)?))
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
    fn answers() {
        for (answer, before, expected) in [
            ("QEMU emulator version 7.2.22 (Debian 1:7.2)", "QEMU emulator version ", Some((7, 2))),
            ("QEMU emulator version 10.0-rc1", "QEMU emulator version ", Some((10, 0))),
            ("git version 2.39.5 (Apple)", "git version ", Some((2, 39))),
            ("git version 2.50.GIT", "git version ", Some((2, 50))),
            ("git version two", "git version ", None),
            ("", "git version ", None),
        ] {
            let parsed = parse_answer(answer, before).map(|(_, version)| version);
            let expected = expected.map(|(major, minor)| Version::new(major, minor));
            assert_eq!(parsed, expected, "{answer}");
        }
    }

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
