//! Names of snapshots: they are names of directories, too.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name.
const MAX_LEN: usize = 63;

/// Name of a snapshot among those of its VM: 1–63 characters of `[a-z0-9-]` without a hyphen at either end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String))]
pub struct SnapshotName(String);

/// Why a text is not the name of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a name for a snapshot: 1 to {MAX_LEN} of a-z, 0-9 and `-`, which is at neither end"
)]
pub struct ParseSnapshotNameError(String);

impl SnapshotName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SnapshotName {
    type Err = ParseSnapshotNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let good = (1..=MAX_LEN).contains(&text.len())
            && text.bytes().all(allowed)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if good { Ok(Self(text.to_owned())) } else { Err(ParseSnapshotNameError(text.to_owned())) }
    }
}

impl TryFrom<String> for SnapshotName {
    type Error = ParseSnapshotNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SnapshotName> for String {
    fn from(name: SnapshotName) -> Self {
        name.0
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["a", "before-upgrade", "2026-11-22-1407", "x".repeat(63).as_str()] {
            assert_eq!(good.parse::<SnapshotName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "A", "a.b", "..", "a/b", "x".repeat(64).as_str()] {
            assert!(bad.parse::<SnapshotName>().is_err(), "{bad}");
        }
    }
}
