//! Periods of time as people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const MINUTE: u32 = 60;
const HOUR: u32 = 60 * MINUTE;

/// A period of at least a second; on the wire a plain number of seconds.
///
/// Written as `90s`, `30m` or `2h`; a bare number means seconds. The written form is exact:
/// parsing what [`fmt::Display`] gives is the same period again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = u32))]
pub struct Period(u32);

/// Why something is not a period.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParsePeriodError {
    /// Neither a number nor a number with a known unit.
    #[error("`{0}` is not a period: write a number with s, m or h, like 90s, 30m or 2h")]
    Form(String),
    /// Nothing.
    #[error("a period has at least one second")]
    Zero,
    /// More seconds than 32 bits hold.
    #[error("`{0}` is too long a period")]
    Overflow(String),
}

impl Period {
    /// Its seconds.
    #[must_use]
    pub const fn seconds(self) -> u32 {
        self.0
    }

    /// As a duration.
    #[must_use]
    pub const fn duration(self) -> std::time::Duration {
        std::time::Duration::from_secs(self.0 as u64)
    }
}

impl TryFrom<u32> for Period {
    type Error = ParsePeriodError;

    fn try_from(seconds: u32) -> Result<Self, Self::Error> {
        if seconds == 0 { Err(ParsePeriodError::Zero) } else { Ok(Self(seconds)) }
    }
}

impl From<Period> for u32 {
    fn from(period: Period) -> Self {
        period.0
    }
}

impl FromStr for Period {
    type Err = ParsePeriodError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, unit) = match text.as_bytes().last() {
            Some(b's') => (&text[..text.len() - 1], 1),
            Some(b'm') => (&text[..text.len() - 1], MINUTE),
            Some(b'h') => (&text[..text.len() - 1], HOUR),
            _ => (text, 1),
        };
        // Digits only: the number parser would take a sign.
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ParsePeriodError::Form(text.to_owned()));
        }
        let seconds = number.parse::<u32>().ok().and_then(|number| number.checked_mul(unit));
        seconds.ok_or_else(|| ParsePeriodError::Overflow(text.to_owned()))?.try_into()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds if seconds.is_multiple_of(HOUR) => write!(f, "{}h", seconds / HOUR),
            seconds if seconds.is_multiple_of(MINUTE) => write!(f, "{}m", seconds / MINUTE),
            seconds => write!(f, "{seconds}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<u32, String> {
        text.parse::<Period>().map(Period::seconds).map_err(|error| error.to_string())
    }

    #[test]
    fn periods_have_units() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("0012s", 12)]
        {
            assert_eq!(parse(text), Ok(seconds), "{text}");
        }
        for text in ["", "m", "1.5h", "-5m", "+5", "5 m", "5d", "m5", "5é"] {
            assert!(parse(text).unwrap_err().contains("is not a period"), "{text}");
        }
        assert_eq!(parse("0m").unwrap_err(), "a period has at least one second");
        assert!(parse("9999999h").unwrap_err().contains("too long"));
        assert!(serde_json::from_str::<Period>("0").is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(seconds in 1..u32::MAX) {
            let period = Period::try_from(seconds).unwrap();
            prop_assert_eq!(period.to_string().parse::<Period>(), Ok(period));
        }
    }
}
