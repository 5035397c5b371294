//! What is tried again, and when: only failures that may pass (a broken connection, a server that
//! is overloaded), a bounded number of times in a row without progress, after growing pauses or
//! when the server says.

use std::time::{Duration, SystemTime};

use reqwest::header::HeaderValue;

use crate::network::Retry;

/// A failure that may or may not pass.
pub(crate) trait Transient {
    /// Whether the same request may succeed later.
    fn is_transient(&self) -> bool;
    /// What the server asks to wait.
    fn retry_after(&self) -> Option<Duration>;
}

/// Counts the tries of one piece of work.
#[derive(Debug)]
pub(crate) struct Backoff {
    retry: Retry,
    failed: u32,
}

impl Backoff {
    pub(crate) fn new(retry: Retry) -> Self {
        Self { retry, failed: 0 }
    }

    /// There was progress: what breaks from now on is counted anew.
    pub(crate) fn progressed(&mut self) {
        self.failed = 0;
    }

    /// How long to wait before the next try, if there is to be one.
    pub(crate) fn next_pause(&mut self, error: &impl Transient) -> Option<Duration> {
        self.failed += 1;
        if !error.is_transient() || self.failed >= self.retry.attempts {
            return None;
        }
        let growing = self.retry.first_pause.saturating_mul(1 << (self.failed - 1).min(16));
        match error.retry_after() {
            // Who asks for more than this is as good as gone.
            Some(asked) if asked > self.retry.longest_pause => None,
            Some(asked) => Some(asked),
            None => Some(growing.min(self.retry.longest_pause)),
        }
    }
}

/// Does `work` until it succeeds or there is no point in going on.
pub(crate) async fn retrying<T, E, F>(retry: Retry, work: impl Fn() -> F) -> Result<T, E>
where
    E: Transient + std::fmt::Display,
    F: Future<Output = Result<T, E>>,
{
    let mut backoff = Backoff::new(retry);
    loop {
        let error = match work().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let Some(pause) = backoff.next_pause(&error) else { return Err(error) };
        tracing::info!(%error, ?pause, "trying again");
        tokio::time::sleep(pause).await;
    }
}

/// Reads a `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3).
pub(super) fn parse_retry_after(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            Some(date.duration_since(SystemTime::now()).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failure(bool, Option<u64>);

    impl Transient for Failure {
        fn is_transient(&self) -> bool {
            self.0
        }
        fn retry_after(&self) -> Option<Duration> {
            self.1.map(Duration::from_secs)
        }
    }

    fn backoff() -> Backoff {
        Backoff::new(Retry {
            attempts: 4,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(3),
        })
    }

    #[test]
    fn pauses_grow_and_end() {
        let mut backoff = backoff();
        let mut next = || backoff.next_pause(&Failure(true, None)).map(|pause| pause.as_secs());
        assert_eq!([next(), next(), next(), next()], [Some(1), Some(2), Some(3), None]);
        backoff.progressed();
        assert_eq!(backoff.next_pause(&Failure(true, None)), Some(Duration::from_secs(1)));
    }

    #[test]
    fn servers_are_heard_and_lasting_failures_end_it() {
        let mut backoff = backoff();
        assert_eq!(backoff.next_pause(&Failure(true, Some(0))), Some(Duration::ZERO));
        assert_eq!(backoff.next_pause(&Failure(true, Some(4))), None);
        assert_eq!(backoff.next_pause(&Failure(false, None)), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let parse = |text| parse_retry_after(&HeaderValue::from_static(text));
        assert_eq!(parse("120"), Some(Duration::from_secs(120)));
        assert_eq!(parse("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(parse("soon"), None);
        assert_eq!(parse("-1"), None);
    }
}
