//! What the bridge that VMs are on is called.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::helper::{TAP_PREFIX, UPLINK};

/// What it is called where nobody says otherwise.
const DEFAULT: &str = "br-fc";

/// The name of a bridge: 1 to 15 of `a`–`z`, `0`–`9` and `-`, the first a letter.
///
/// Narrower than the kernel's rule, so that it means itself in rules and in file names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BridgeName(String);

/// Why a text is not the name of a bridge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseBridgeNameError {
    /// Letters, or how many of them.
    #[error(
        "`{0}` is not a name of a bridge: write 1 to 15 of a-z, 0-9 and -, beginning with a letter"
    )]
    Form(String),
    /// Another interface is called so.
    #[error("`{0}` is no name for the bridge: other interfaces are called like that")]
    Taken(String),
}

impl BridgeName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for BridgeName {
    fn default() -> Self {
        Self(DEFAULT.to_owned())
    }
}

impl FromStr for BridgeName {
    type Err = ParseBridgeNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let letters = text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        if !letters || !first || text.len() > 15 {
            return Err(ParseBridgeNameError::Form(text.to_owned()));
        }
        // `all` and `default` are no interfaces but folders beside theirs in /proc/sys.
        if text.starts_with(TAP_PREFIX) || ["lo", UPLINK, "all", "default"].contains(&text) {
            return Err(ParseBridgeNameError::Taken(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for BridgeName {
    type Error = ParseBridgeNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<BridgeName> for String {
    fn from(name: BridgeName) -> Self {
        name.0
    }
}

impl fmt::Display for BridgeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_bridges() {
        for good in ["br-fc", "b", "vm0", "a23456789012345"] {
            assert_eq!(good.parse::<BridgeName>().unwrap().as_str(), good);
        }
        for bad in
            ["", "0br", "-br", "Br", "br fc", "br\"", "br.1", "../x", "a234567890123456", "br\n"]
        {
            let error = bad.parse::<BridgeName>().unwrap_err();
            assert!(matches!(error, ParseBridgeNameError::Form(_)), "{bad:?}: {error}");
        }
        for taken in ["lo", "up0", "all", "default", "bt-0001abcdefff"] {
            let error = taken.parse::<BridgeName>().unwrap_err();
            assert!(matches!(error, ParseBridgeNameError::Taken(_)), "{taken:?}: {error}");
        }
    }
}
