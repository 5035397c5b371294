//! Identifiers: what they look like and how they are parsed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Length of an id in characters: 12 hexadecimal digits, 48 bits.
///
/// Short enough that socket paths stay under the kernel's 107 bytes, long enough that ids made
/// at random on one machine do not meet.
pub const ID_LEN: usize = 12;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id: expected {ID_LEN} lower-case hexadecimal digits")]
pub struct ParseIdError(String);

fn parse_hex_id(text: &str) -> Result<String, ParseIdError> {
    let ok = text.len() == ID_LEN
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if ok { Ok(text.to_owned()) } else { Err(ParseIdError(text.to_owned())) }
}

fn hex_id(random: [u8; ID_LEN / 2]) -> String {
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String))]
        pub struct $name(String);

        impl $name {
            /// Makes an id from 48 random bits.
            #[must_use]
            pub fn from_random(random: [u8; ID_LEN / 2]) -> Self {
                Self(hex_id(random))
            }

            /// The bits that it was made from.
            #[must_use]
            pub fn bytes(&self) -> [u8; ID_LEN / 2] {
                let digits = self.0.as_bytes();
                // An id has digits only, two for each byte.
                let value = |digit: u8| (digit as char).to_digit(16).unwrap_or(0) as u8;
                std::array::from_fn(|at| value(digits[2 * at]) << 4 | value(digits[2 * at + 1]))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_hex_id(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id_type! {
    /// A VM's identity: 12 hexadecimal digits, never reused, independent of its name.
    VmId
}

id_type! {
    /// Identity of a job: a command of a VM that outlives whoever started it.
    JobId
}

id_type! {
    /// Identity of one request, carried into logs, errors and events.
    OpId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        let id = VmId::from_random([0, 1, 0xab, 0xcd, 0xef, 0xff]);
        assert_eq!(id.as_str(), "0001abcdefff");
        assert_eq!(id.as_str().parse::<VmId>().unwrap(), id);
        assert_eq!(id.bytes(), [0, 1, 0xab, 0xcd, 0xef, 0xff]);
    }

    #[test]
    fn refuses_what_is_no_id() {
        for bad in
            ["", "0001abcdeff", "0001abcdefff0", "0001ABCDEFFF", "../../../etc", "g001abcdefff"]
        {
            assert!(bad.parse::<VmId>().is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<VmId>("\"nope\"").is_err());
    }
}
