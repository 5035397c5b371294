//! VM names: host names, checked by the CLI and again by the daemon, never normalised.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name: one DNS label (RFC 1035 §2.3.4).
pub const MAX_NAME_LEN: usize = 63;

/// The domain of VMs: `web.vm`.
pub const DOMAIN: &str = "vm";

/// What VMs call the host, as `host.vm`. No new VM gets the name.
pub const HOST_NAME: &str = "host";

/// Name of a VM: 1–63 characters of `[a-z0-9-]` without a hyphen at either end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String))]
pub struct VmName(String);

/// Why a text is not a VM name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseNameError {
    /// No characters at all.
    #[error("a VM name cannot be empty")]
    Empty,
    /// Longer than one DNS label.
    #[error("`{0}` is too long for a VM name: {len} characters, at most {MAX_NAME_LEN}", len = .0.chars().count())]
    TooLong(String),
    /// A character outside `[a-z0-9-]`.
    #[error("`{name}` is not a VM name: `{character}` is not one of a-z, 0-9 and `-`")]
    Character {
        /// The refused text.
        name: String,
        /// Its first character that is not allowed.
        character: char,
    },
    /// The host's own name, asked for a new VM.
    #[error("`{HOST_NAME}` cannot be the name of a VM: VMs call the host so, as `{HOST_NAME}.vm`")]
    Host,
    /// A hyphen at an end.
    #[error("`{0}` is not a VM name: it may not begin or end with `-`")]
    Hyphen(String),
}

impl VmName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, if a new VM may have it. VMs of earlier versions may be called otherwise, so that
    /// parsing does not ask.
    ///
    /// # Errors
    /// [`ParseNameError::Host`].
    pub fn for_new_vm(self) -> Result<Self, ParseNameError> {
        if self.0 == HOST_NAME { Err(ParseNameError::Host) } else { Ok(self) }
    }
}

impl FromStr for VmName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(ParseNameError::Empty);
        }
        let allowed = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-';
        if let Some(character) = text.chars().find(|c| !allowed(c)) {
            return Err(ParseNameError::Character { name: text.to_owned(), character });
        }
        if text.len() > MAX_NAME_LEN {
            return Err(ParseNameError::TooLong(text.to_owned()));
        }
        if text.starts_with('-') || text.ends_with('-') {
            return Err(ParseNameError::Hyphen(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for VmName {
    type Error = ParseNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<VmName> for String {
    fn from(name: VmName) -> Self {
        name.0
    }
}

impl fmt::Display for VmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_labels() {
        for good in ["a", "0", "web-1", "x".repeat(63).as_str()] {
            assert_eq!(good.parse::<VmName>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let message = |text: &str| text.parse::<VmName>().unwrap_err().to_string();
        assert_eq!(message(""), "a VM name cannot be empty");
        assert_eq!(message("Web"), "`Web` is not a VM name: `W` is not one of a-z, 0-9 and `-`");
        assert_eq!(message("-a"), "`-a` is not a VM name: it may not begin or end with `-`");
        assert!(message(&"x".repeat(64)).contains("64 characters, at most 63"));
    }

    #[test]
    fn the_hosts_name_is_no_new_vms() {
        let name = |text: &str| text.parse::<VmName>().unwrap();
        assert_eq!(name("host").for_new_vm(), Err(ParseNameError::Host));
        assert_eq!(name("host-1").for_new_vm(), Ok(name("host-1")));
        assert_eq!(
            ParseNameError::Host.to_string(),
            "`host` cannot be the name of a VM: VMs call the host so, as `host.vm`"
        );
    }
}
