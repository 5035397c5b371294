//! Sizes of memory and disks as people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// A size in bytes; on the wire a plain number of bytes.
///
/// Written as `4G`, `512M`, `4GiB`, `512MiB`, `4KiB` (all powers of 1024); a bare number means
/// MiB. The written form is exact: parsing what [`fmt::Display`] gives is the same size again.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = u64))]
pub struct ByteSize(u64);

/// Why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseSizeError {
    /// Neither a number nor a number with a known unit.
    #[error(
        "`{0}` is not a size: write a number with K, M, G or T (like 512M or 4GiB); a bare number means MiB"
    )]
    Form(String),
    /// More bytes than 64 bits hold.
    #[error("`{0}` is too large a size")]
    Overflow(String),
}

impl ByteSize {
    /// A size of `bytes` bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A size of `mib` binary megabytes.
    #[must_use]
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib * MIB)
    }

    /// All of `sizes` together, or the largest size there is.
    #[must_use]
    pub fn saturating_sum(sizes: impl IntoIterator<Item = Self>) -> Self {
        Self(sizes.into_iter().fold(0, |sum, size| size.0.saturating_add(sum)))
    }

    /// Number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Whole binary megabytes, rounded down.
    #[must_use]
    pub const fn mib(self) -> u64 {
        self.0 / MIB
    }

    /// The size for reading, not for parsing: three digits at most and a unit (`1.2 GiB`).
    #[must_use]
    pub fn human(self) -> String {
        let (unit, name) = match self.0 {
            n if n >= TIB => (TIB, "TiB"),
            n if n >= GIB => (GIB, "GiB"),
            n if n >= MIB => (MIB, "MiB"),
            n if n >= KIB => (KIB, "KiB"),
            n => return format!("{n} B"),
        };
        // Tenths, rounded half up, in integers: no float prints 1.0 as 0.9.
        let tenths = (u128::from(self.0) * 10 + u128::from(unit) / 2) / u128::from(unit);
        if tenths % 10 == 0 || tenths >= 1000 {
            format!("{} {name}", tenths / 10)
        } else {
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
    }
}

impl FromStr for ByteSize {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || ParseSizeError::Form(text.to_owned());
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(form());
        }
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" | "m" | "mib" => MIB,
            "b" => 1,
            "k" | "kib" => KIB,
            "g" | "gib" => GIB,
            "t" | "tib" => TIB,
            _ => return Err(form()),
        };
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| ParseSizeError::Overflow(text.to_owned()))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in [(TIB, "T"), (GIB, "G"), (MIB, "M"), (KIB, "K")] {
            if self.0 != 0 && self.0.is_multiple_of(unit) {
                return f.pad(&format!("{}{name}", self.0 / unit));
            }
        }
        f.pad(&format!("{}B", self.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sums_end_where_numbers_do() {
        let sum = |sizes: &[u64]| ByteSize::saturating_sum(sizes.iter().copied().map(ByteSize));
        assert_eq!(sum(&[]), ByteSize(0));
        assert_eq!(sum(&[1, 2]), ByteSize(3));
        assert_eq!(sum(&[u64::MAX, 2]), ByteSize(u64::MAX));
    }

    #[test]
    fn parses_what_people_write() {
        let bytes = |text: &str| text.parse::<ByteSize>().map(ByteSize::bytes);
        assert_eq!(bytes("4G"), Ok(4 * GIB));
        assert_eq!(bytes("512MiB"), Ok(512 * MIB));
        assert_eq!(bytes("4kib"), Ok(4096));
        assert_eq!(bytes("1"), Ok(MIB));
        assert_eq!(bytes("7B"), Ok(7));
        for bad in ["", "G", "-1G", "1.5G", "4 G", "4GB", "0x10"] {
            assert!(matches!(bytes(bad), Err(ParseSizeError::Form(_))), "{bad}");
        }
        assert!(matches!(bytes("99999999999T"), Err(ParseSizeError::Overflow(_))));
    }

    #[test]
    fn reads_well() {
        assert_eq!(ByteSize::from_bytes(1_288_490_189).human(), "1.2 GiB");
        assert_eq!(ByteSize::from_mib(8192).human(), "8 GiB");
        assert_eq!(ByteSize::from_bytes(17).human(), "17 B");
    }

    proptest! {
        #[test]
        fn written_form_is_exact(bytes: u64) {
            let size = ByteSize::from_bytes(bytes);
            prop_assert_eq!(size.to_string().parse::<ByteSize>(), Ok(size));
        }
    }
}
