//! How long ago something was, for people.

use jiff::Timestamp;

/// Time since `created_at` in its largest whole unit; empty when that is no time. A clock that
/// was set back makes no VM younger than new.
pub(crate) fn render_age(created_at: &str, now: Timestamp) -> String {
    let Ok(created) = created_at.parse::<Timestamp>() else { return String::new() };
    match (now.as_second() - created.as_second()).max(0) {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86_400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let now = "2026-08-05T12:00:00Z".parse().unwrap();
        let age = |created: &str| render_age(created, now);
        assert_eq!(age("2026-08-05T11:59:01Z"), "59s");
        assert_eq!(age("2026-08-05T11:00:01Z"), "59m");
        assert_eq!(age("2026-08-04T12:00:01Z"), "23h");
        assert_eq!(age("2026-07-26T12:00:00Z"), "10d");
        assert_eq!(age("2026-08-05T13:00:00Z"), "0s");
        assert_eq!(age("yesterday"), "");
    }
}
