//! How often something is done that others can cause without end. Pure: time is given.

use std::time::{Duration, Instant};

/// From one time to the next, at least; twice as long for each that follows at once.
const FIRST: Duration = Duration::from_millis(50);
/// The longest of these.
const LONGEST: Duration = Duration::from_secs(1);
/// How often something is said.
const SAID: Duration = Duration::from_secs(60);

/// What is done at once, but not again and again at once.
#[derive(Debug, Default)]
pub struct Pace {
    pause: Duration,
    not_before: Option<Instant>,
}

impl Pace {
    /// How long it has to wait; nothing when it may be done.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Duration {
        self.not_before.map_or(Duration::ZERO, |then| then.saturating_duration_since(now))
    }

    /// It is done now. If that was as soon as it could be, or nearly, the next one is later.
    pub fn step(&mut self, now: Instant) {
        let soon = self.not_before.is_some_and(|then| now < then + self.pause);
        self.pause = if soon { (self.pause * 2).clamp(FIRST, LONGEST) } else { FIRST };
        self.not_before = Some(now + self.pause);
    }

    /// It is not done before `then`.
    pub fn hold(&mut self, then: Instant) {
        self.not_before = Some(then);
    }
}

/// What is said at most once a minute.
#[derive(Debug, Default)]
pub struct Seldom {
    last: Option<Instant>,
    unsaid: usize,
}

impl Seldom {
    /// Whether it is said now: then, how often it was not since the last time.
    pub fn now(&mut self, now: Instant) -> Option<usize> {
        if self.last.is_some_and(|last| now < last + SAID) {
            self.unsaid += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_at_once_and_the_others_ever_later() {
        let (mut pace, begin) = (Pace::default(), Instant::now());
        let mut now = begin;
        let mut waits = Vec::new();
        for _ in 0..8 {
            let wait = pace.wait(now);
            waits.push(wait.as_millis());
            now += wait;
            assert!(pace.wait(now).is_zero());
            pace.step(now);
        }
        assert_eq!(waits, [0, 50, 100, 200, 400, 800, 1000, 1000]);
        // After some rest, as if nothing had been.
        now += Duration::from_secs(3);
        assert!(pace.wait(now).is_zero());
        pace.step(now);
        assert_eq!(pace.wait(now), FIRST);
        pace.hold(now + SAID);
        assert_eq!(pace.wait(now), SAID);
    }

    #[test]
    fn a_minute_has_one_line() {
        let (mut seldom, begin) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.now(begin), Some(0));
        assert_eq!(seldom.now(begin), None);
        assert_eq!(seldom.now(begin + SAID / 2), None);
        assert_eq!(seldom.now(begin + SAID), Some(2));
        assert_eq!(seldom.now(begin + SAID * 2), Some(0));
    }
}
