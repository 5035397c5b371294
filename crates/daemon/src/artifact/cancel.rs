//! File work on the blocking pool, and its end when nobody waits for it any more.
//!
//! A thread cannot be taken away from what it does. So long work asks now and then whether it
//! is still wanted:
//!
//! ```text
//! future ──holds──▶ guard ──dropped──▶ flag ◀──asked by── work on a thread
//! ```

use std::ops::ControlFlow;

use tokio_util::sync::CancellationToken;

use super::Lost;

/// Whether work is still wanted. Cloned freely.
#[derive(Debug, Clone)]
pub(crate) struct Cancelled(CancellationToken);

impl Cancelled {
    /// Work that is wanted to its end.
    pub(crate) fn never() -> Self {
        Self(CancellationToken::new())
    }

    /// `Break` once nobody waits for the work any more.
    pub(crate) fn flow(&self) -> ControlFlow<()> {
        if self.0.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl From<CancellationToken> for Cancelled {
    fn from(token: CancellationToken) -> Self {
        Self(token)
    }
}

/// Runs file work where it holds nobody up. Once begun it is carried to its end.
///
/// # Errors
/// When it panics, or the runtime goes down.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Lost> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Lost)
}

/// Runs file work that can be given up: when this future is dropped, the work is told. What it
/// made is its own to remove, by then or after it.
///
/// # Errors
/// When it panics, or the runtime goes down.
pub(crate) async fn cancellable<T: Send + 'static>(
    work: impl FnOnce(Cancelled) -> T + Send + 'static,
) -> Result<T, Lost> {
    let token = CancellationToken::new();
    let _told_when_dropped = token.clone().drop_guard();
    blocking(move || work(Cancelled(token))).await
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn work_learns_that_nobody_waits() {
        let (begun_to, begun) = mpsc::channel();
        let (ended_to, ended) = mpsc::channel();
        let waiting = tokio::spawn(cancellable(move |cancelled| {
            begun_to.send(()).unwrap();
            while cancelled.flow().is_continue() {
                std::thread::yield_now();
            }
            ended_to.send(()).unwrap();
        }));
        let ended = tokio::task::spawn_blocking(move || {
            begun.recv().unwrap();
            waiting.abort();
            ended.recv_timeout(Duration::from_secs(30))
        });
        assert_eq!(ended.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn work_that_is_waited_for_ends_by_itself() {
        let flow = cancellable(|cancelled| cancelled.flow()).await;
        assert_eq!(flow, Ok(ControlFlow::Continue(())));
        assert_eq!(Cancelled::never().flow(), ControlFlow::Continue(()));
    }
}
