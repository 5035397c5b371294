//! Signals that reach this process while it works for somebody.

use std::future::poll_fn;
use std::task::Poll;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::errors::CliError;

/// A signal that is acted upon, by its number on Linux.
pub(crate) type Number = u8;

/// Ctrl-C.
pub(crate) const INTERRUPT: Number = 2;

/// Signals that end a program and that a command in the guest may want to see.
const ENDING: [(Number, &str); 4] =
    [(1, "SIGHUP"), (INTERRUPT, "SIGINT"), (3, "SIGQUIT"), (15, "SIGTERM")];

/// Signals that mean what the receiving program says they mean.
const FREE: [(Number, &str); 2] = [(10, "SIGUSR1"), (12, "SIGUSR2")];

/// The signals this process listens to. Once it has begun to listen, none of them ends the
/// process by itself again, not even after this value is gone: clean-up is never cut short.
#[derive(Debug)]
pub(crate) struct Signals {
    streams: Vec<(Number, Stream)>,
}

impl Signals {
    /// Listens to the signals that end a program.
    pub(crate) fn ending() -> Result<Self, CliError> {
        Self::listen(&ENDING, ignored())
    }

    /// Listens to the signals that mean what their receiver says, too.
    pub(crate) fn add_free(&mut self) -> Result<(), CliError> {
        let more = Self::listen(&FREE, ignored())?;
        self.streams.extend(more.streams);
        Ok(())
    }

    fn listen(wanted: &[(Number, &str)], ignored: u64) -> Result<Self, CliError> {
        let mut streams = Vec::new();
        for (number, name) in wanted {
            // `nohup` and a shell's `&` ignore signals on purpose, for everything below them.
            if ignored & (1 << (number - 1)) == 0 {
                let stream = signal(SignalKind::from_raw(i32::from(*number))).map_err(|error| {
                    CliError::failure(format!("cannot listen to {name}")).because(&error)
                })?;
                streams.push((*number, stream));
            }
        }
        Ok(Self { streams })
    }

    /// Does `work` unless a signal comes first.
    ///
    /// # Errors
    /// Those of `work`; and [`CliError::interrupted`], after `work` was dropped.
    pub(crate) async fn race<T>(
        &mut self,
        work: impl Future<Output = Result<T, CliError>>,
    ) -> Result<T, CliError> {
        self.race_or("interrupted", work).await
    }

    /// Does `work` unless a signal comes first, which is then told as `message`.
    ///
    /// # Errors
    /// As [`race`](Self::race).
    pub(crate) async fn race_or<T>(
        &mut self,
        message: &str,
        work: impl Future<Output = Result<T, CliError>>,
    ) -> Result<T, CliError> {
        tokio::select! {
            result = work => result,
            number = self.next() => Err(CliError::interrupted(number, message)),
        }
    }

    /// The next signal. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Number {
        poll_fn(|context| {
            for (number, stream) in &mut self.streams {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(*number);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// The signals this process was started to ignore, as a mask with bit `number - 1`.
fn ignored() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .as_deref()
        .and_then(parse_ignored)
        .unwrap_or(0)
}

/// Reads `SigIgn` of `/proc/PID/status` (proc_pid_status(5)).
fn parse_ignored(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_ignored() {
        assert_eq!(parse_ignored("Name:\tx\nSigIgn:\t0000000000001001\n"), Some(0x1001));
        assert_eq!(parse_ignored("Name:\tx\n"), None);
    }
}
