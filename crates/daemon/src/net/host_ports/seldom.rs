//! What comes again and again, and is told once in a while. Pure.

use std::time::{Duration, Instant};

/// How long the log is spared the same news.
const TOLD_FOR: Duration = Duration::from_secs(60);

/// How often something has come since it was told.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    told: Option<Instant>,
    times: u64,
}

impl Seldom {
    /// Notes that it has come at `now`. When it is to be told: how often it has come since it last was.
    pub(super) fn note(&mut self, now: Instant) -> Option<u64> {
        self.times += 1;
        if self.told.is_some_and(|told| now.duration_since(told) < TOLD_FOR) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_then_how_many_there_were() {
        let mut seldom = Seldom::default();
        let start = Instant::now();
        let told = [0, 1, 59, 60, 61, 200].map(|s| seldom.note(start + Duration::from_secs(s)));
        assert_eq!(told, [Some(1), None, None, Some(3), None, Some(2)]);
    }
}
