//! Asking guests without waiting for one that does not answer.
//!
//! A guest that keeps a look waiting is not waited for again until it has answered; what it says
//! late is in the look that comes next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use banger_proto::VmId;
use banger_proto::guest::GuestStats;
use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

/// How long a look waits for guests: many times what an agent takes that can run.
const PATIENCE: Duration = Duration::from_millis(500);

/// What guests were asked.
#[derive(Debug, Default)]
pub(crate) struct Guests {
    /// Without an answer yet.
    asked: BTreeMap<VmId, AbortOnDropHandle<Option<GuestStats>>>,
    /// Those that did not answer, or not in time, when they were asked last.
    late: BTreeSet<VmId>,
}

impl Guests {
    /// What the guests in `asks` use, of those that answer. A guest that still owes the answer to
    /// an earlier look is not asked again. What guests not in `asks` owe is forgotten.
    pub(super) async fn look<F>(
        &mut self,
        asks: impl IntoIterator<Item = (VmId, F)>,
    ) -> BTreeMap<VmId, GuestStats>
    where
        F: Future<Output = Option<GuestStats>> + Send + 'static,
    {
        let now = Instant::now();
        let (mut earlier, late) = (std::mem::take(&mut self.asked), std::mem::take(&mut self.late));
        let looks = asks.into_iter().map(|(vm, ask)| {
            let owed = earlier.remove(&vm);
            let mut answer = owed.unwrap_or_else(|| AbortOnDropHandle::new(tokio::spawn(ask)));
            let until = if late.contains(&vm) { now } else { now + PATIENCE };
            async move {
                match timeout_at(until, &mut answer).await {
                    Ok(answered) => (vm, Ok(answered.ok().flatten())),
                    Err(_) => (vm, Err(answer)),
                }
            }
        });
        let mut stats = BTreeMap::new();
        for (vm, answered) in join_all(looks).await {
            match answered {
                Ok(Some(found)) => {
                    stats.insert(vm, found);
                    continue;
                }
                Ok(None) => {}
                Err(answer) => drop(self.asked.insert(vm.clone(), answer)),
            }
            self.late.insert(vm);
        }
        stats
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;
    use tokio::sync::oneshot;

    use super::*;

    fn stats(uptime_ms: u64) -> Option<GuestStats> {
        Some(GuestStats {
            uptime_ms,
            cpus: 1,
            cpu_busy_ms: 0,
            memory_total: 0,
            memory_available: 0,
            disk_total: 0,
            disk_free: 0,
            jobs: 0,
        })
    }

    fn vm(digit: char) -> VmId {
        digit.to_string().repeat(12).parse().unwrap()
    }

    type Ask = BoxFuture<'static, Option<GuestStats>>;

    /// Looks at a guest that answers and at one that is asked `second`; tells what each said, by
    /// its uptime, and how long it took. The clock stands still but for what is waited for.
    async fn look(guests: &mut Guests, second: Ask) -> (Option<u64>, Option<u64>, Duration) {
        let since = Instant::now();
        let asks = [(vm('a'), ready(stats(1)).boxed()), (vm('b'), second)];
        let found = guests.look(asks).await;
        let uptime = |digit| found.get(&vm(digit)).map(|found| found.uptime_ms);
        (uptime('a'), uptime('b'), since.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_that_hangs_is_waited_for_once() {
        let mut guests = Guests::default();
        let (answer, asked) = oneshot::channel();
        let slow = async { asked.await.ok().flatten() }.boxed();
        assert_eq!(look(&mut guests, slow).await, (Some(1), None, PATIENCE));
        // It is not asked again while it owes an answer, nor waited for.
        let again = || async { panic!("asked twice") }.boxed();
        assert_eq!(look(&mut guests, again()).await, (Some(1), None, Duration::ZERO));
        answer.send(stats(7)).unwrap();
        tokio::task::yield_now().await;
        assert_eq!(look(&mut guests, again()).await, (Some(1), Some(7), Duration::ZERO));
        // Who has answered is as good as any.
        let brief = async {
            tokio::time::sleep(PATIENCE / 2).await;
            stats(8)
        }
        .boxed();
        assert_eq!(look(&mut guests, brief).await, (Some(1), Some(8), PATIENCE / 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_that_cannot_be_asked_is_asked_again() {
        let mut guests = Guests::default();
        assert_eq!(look(&mut guests, ready(None).boxed()).await, (Some(1), None, Duration::ZERO));
        let slow = pending().boxed();
        assert_eq!(look(&mut guests, slow).await, (Some(1), None, Duration::ZERO));
        // One that is gone takes its debt with it.
        assert_eq!(guests.look([(vm('a'), ready(stats(1)))]).await.len(), 1);
        assert_eq!(look(&mut guests, ready(stats(2)).boxed()).await.1, Some(2));
    }
}
