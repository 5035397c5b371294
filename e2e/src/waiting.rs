//! Waiting for what other processes do.

use std::time::{Duration, Instant};

/// Waits for `done` to hold, which some process makes true soon.
///
/// # Panics
/// When it does not within half a minute.
#[track_caller]
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        std::thread::yield_now();
    }
}
