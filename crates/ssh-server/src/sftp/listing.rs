//! A line about a file as `ls -ln` writes it: clients show it to people and read nothing in it.

use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The line about the file called `name`, in UTC.
pub(super) fn render_line(file: &Metadata, name: &std::ffi::OsStr) -> Vec<u8> {
    let (year, month, day) = date(file.mtime().div_euclid(86_400));
    let minutes = file.mtime().rem_euclid(86_400) / 60;
    let month = MONTHS[usize::try_from(month - 1).unwrap_or(0) % 12];
    let line = format!(
        "{} {:>4} {:<8} {:<8} {:>8} {month} {day:>2} {year} {:02}:{:02} ",
        render_mode(file.mode()),
        file.nlink(),
        file.uid(),
        file.gid(),
        file.len(),
        minutes / 60,
        minutes % 60,
    );
    [line.as_bytes(), name.as_bytes()].concat()
}

/// `drwxr-xr-x`.
fn render_mode(mode: u32) -> String {
    let kind = match mode & 0o170_000 {
        0o040_000 => 'd',
        0o120_000 => 'l',
        0o020_000 => 'c',
        0o060_000 => 'b',
        0o010_000 => 'p',
        0o140_000 => 's',
        _ => '-',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, false) => 'x',
            (false, false) => '-',
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
        });
    }
    text
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar. Counts years
/// from March, so that the leap day is the last of one.
fn date(days: i64) -> (i64, i64, i64) {
    // 719,468 days from 0000-03-01 to 1970-01-01; 146,097 in 400 years.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(11_017), (2000, 3, 1));
        assert_eq!(date(20_453), (2025, 12, 31));
        assert_eq!(date(-1), (1969, 12, 31));
    }

    #[test]
    fn modes_are_those_of_ls() {
        assert_eq!(render_mode(0o040_755), "drwxr-xr-x");
        assert_eq!(render_mode(0o104_711), "-rws--x--x");
        assert_eq!(render_mode(0o041_776), "drwxrwxrwT");
        assert_eq!(render_mode(0o120_777), "lrwxrwxrwx");
    }
}
