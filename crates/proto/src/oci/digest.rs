//! SHA-256 digests as OCI writes them, `sha256:` and 64 lower-case hexadecimal digits
//! (<https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests>).

use std::fmt;
use std::str::FromStr;

/// What every digest begins with.
const PREFIX: &str = "sha256:";

/// The SHA-256 of some content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// Why a text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Another algorithm, or none.
    #[error("`{0}` is not a SHA-256 digest: it must begin with `sha256:`")]
    Algorithm(String),
    /// Not 64 lower-case hexadecimal digits.
    #[error("`{0}` is not a SHA-256 digest: `sha256:` and 64 digits of 0-9 and a-f")]
    Digits(String),
}

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads 64 hexadecimal digits without `sha256:`, the form that catalogs and file names use.
    ///
    /// # Errors
    /// When `text` is anything else.
    pub fn parse_hex(text: &str) -> Result<Self, DigestError> {
        let wrong = || DigestError::Digits(text.to_owned());
        let mut bytes = [0; 32];
        if text.len() != 2 * bytes.len() {
            return Err(wrong());
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = match (parse_digit(pair[0]), parse_digit(pair[1])) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(wrong()),
            };
        }
        Ok(Self(bytes))
    }

    /// The 64 digits without `sha256:`.
    #[must_use]
    pub fn hex(&self) -> String {
        self.to_string().split_off(PREFIX.len())
    }

    /// The digest itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Capital letters are refused, because one digest has one name.
fn parse_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex =
            text.strip_prefix(PREFIX).ok_or_else(|| DigestError::Algorithm(text.to_owned()))?;
        Self::parse_hex(hex).map_err(|_| DigestError::Digits(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `abc` of FIPS 180-2, appendix B.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn reads_what_it_writes() {
        let digest = Digest::parse_hex(ABC).unwrap();
        assert_eq!(digest.as_bytes()[..3], [0xba, 0x78, 0x16]);
        assert_eq!(digest.hex(), ABC);
        assert_eq!(format!("sha256:{ABC}").parse(), Ok(digest));
    }

    #[test]
    fn refuses_everything_else() {
        for text in [ABC, "sha512:00", "SHA256:00", ""] {
            assert_eq!(text.parse::<Digest>(), Err(DigestError::Algorithm(text.into())));
        }
        let upper = format!("sha256:{}", ABC.to_uppercase());
        let long = format!("sha256:{ABC}0");
        let path = format!("sha256:../{}", &ABC[3..]);
        for text in ["sha256:", &upper, &long, &path, "sha256:é"] {
            assert_eq!(text.parse::<Digest>(), Err(DigestError::Digits(text.into())));
        }
    }
}
