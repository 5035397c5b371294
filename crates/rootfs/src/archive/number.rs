//! Numbers in headers. Pure.

/// A field of a header block: octal digits, or base 256 where the first bit is set (GNU). Blank
/// is zero. `None` for what is neither.
pub(super) fn parse_field(field: &[u8]) -> Option<i64> {
    let &first = field.first()?;
    if first & 0x80 != 0 {
        // Two's complement, but for the first bit; the second is the sign.
        let negative = first & 0x40 != 0;
        let start = i64::from(if negative { first } else { first & 0x7f }.cast_signed());
        return field[1..]
            .iter()
            .try_fold(start, |value, &byte| value.checked_mul(256)?.checked_add(i64::from(byte)));
    }
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let from = field.iter().position(|byte| !blank(byte)).unwrap_or(field.len());
    let digits = &field[from..];
    let digits = &digits[..digits.iter().position(blank).unwrap_or(digits.len())];
    digits.iter().try_fold(0_i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

/// Decimal digits and nothing else.
pub(super) fn parse_decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(text).ok()?.parse().ok()
}

/// A PAX time: decimal seconds, possibly negative, possibly with a fraction.
pub(super) fn parse_time(text: &[u8]) -> Option<(i64, u32)> {
    let text = str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    // The fraction of a time before 1970 counts backwards; inodes only count forwards.
    Some(if whole.starts_with('-') && nanoseconds > 0 {
        (seconds.saturating_sub(1), 1_000_000_000 - nanoseconds)
    } else {
        (seconds, nanoseconds)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        assert_eq!(parse_field(b"0000644\0"), Some(0o644));
        assert_eq!(parse_field(b"   644 \0"), Some(0o644));
        assert_eq!(parse_field(b"\0\0\0\0"), Some(0));
        assert_eq!(parse_field(b"77777777"), Some(0o77_777_777));
        assert_eq!(parse_field(&[0x80, 0, 0, 2, 0, 0, 0, 0]), Some(2 << 32));
        assert_eq!(parse_field(&[0xff; 12]), Some(-1));
        assert_eq!(parse_field(&[0xff, 0xff, 0xff, 0xfe]), Some(-2));
        assert_eq!(parse_field(&[0xbf; 12]), None, "more than 64 bits");
        for bad in [&b"8"[..], b"-1", b"0x10", b"1a", b""] {
            assert_eq!(parse_field(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(parse_time(b"12"), Some((12, 0)));
        assert_eq!(parse_time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(parse_time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(parse_time(b"12.1234567891"), Some((12, 123_456_789)));
        for bad in [&b""[..], b"x", b"1.x", b"1e3", b"\xff"] {
            assert_eq!(parse_time(bad), None, "{bad:?}");
        }
    }
}
