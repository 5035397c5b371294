//! Where the operations work, as one value: what differs between a network of the user's own and the host's.
//!
//! Who may call is not decided here: of a network of the user's own, that is the business of whoever makes
//! the socket; in the host's, of [`crate::serve`].

use std::fmt;
use std::str::FromStr;

use banger_proto::helper::{DEFAULT_BRIDGE, HOST_MTU, OWN_MTU, TAP_PREFIX, UPLINK};

/// Where the operations work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What the bridge is called.
    pub bridge: BridgeName,
    /// Who may attach a VMM to a tap: a user's number, as seen in the namespace that the helper is in.
    pub tap_owner: u32,
    /// Where packets of guests leave.
    pub uplink: Uplink,
}

/// Where packets of guests leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uplink {
    /// By the interface [`UPLINK`] in a network namespace that holds nothing else: all that is there is
    /// the helper's to rule.
    Own,
    /// By whichever interface of the host is not the bridge: what does not concern the bridge is not the
    /// helper's.
    Host,
}

impl Uplink {
    /// Most bytes in a packet on the bridge and the taps.
    #[must_use]
    pub fn mtu(self) -> u32 {
        match self {
            Self::Own => OWN_MTU.into(),
            Self::Host => HOST_MTU.into(),
        }
    }
}

impl Place {
    /// In a namespace of a user's own, where that user is root.
    #[must_use]
    pub fn own(bridge: BridgeName) -> Self {
        Self { bridge, tap_owner: 0, uplink: Uplink::Own }
    }

    /// In the host's network, for the guests of user `owner`.
    #[must_use]
    pub fn host(bridge: BridgeName, owner: u32) -> Self {
        Self { bridge, tap_owner: owner, uplink: Uplink::Host }
    }
}

/// The name of a bridge: 1 to 15 of `a`–`z`, `0`–`9` and `-`, the first a letter.
///
/// Narrower than the kernel's rule, so that it means itself in rules and in file names.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        Self(DEFAULT_BRIDGE.to_owned())
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
