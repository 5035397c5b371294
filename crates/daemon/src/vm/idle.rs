//! When a VM has been idle for so long that it may be paused or stopped, and which of the two is next.
//!
//! A VM is idle while nobody [uses](super::uses) it and its guest has next to nothing to do. The
//! guest's own count of its processors' time tells the latter (the host's would not: under
//! emulation an idle guest costs the host time). It is asked four times in the period, and at
//! least once a minute; a guest that was busier than [`BUSY_SHARE`] between two answers was
//! active until the later one, and so was one that did not answer, or in which a job ran.
//!
//! ```text
//!          unused                    looks ok for the whole period
//!   used ──────────▶ quiet since now ─────────────────────────────▶ idle: told once
//!     ▲                 ▲    │ │
//!     │                 └────┘ │ busy, or no answer: quiet since now
//!     └─────── a use ──────────┘
//! ```

use std::time::Duration;

use banger_proto::Period;
use banger_proto::guest::GuestStats;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::plan::VmPlan;
use super::state::VmState;
use super::uses::Uses;
use crate::guest::GuestClient;

/// Share of one processor above which a guest is active: room for timers, and for the looks
/// themselves.
const BUSY_SHARE: f64 = 0.02;
/// Looks at a guest in one period.
const LOOKS: u32 = 4;
/// Longest time from look to look.
const MAX_INTERVAL: Duration = Duration::from_secs(60);
/// How long an agent may take to answer.
const LOOK_DEADLINE: Duration = Duration::from_secs(10);

/// What becomes of a VM that is idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sleep {
    /// It stands still, after so long.
    Pause(Period),
    /// It is down, after so long in all.
    Stop(Period),
}

/// What is next for a VM of this plan in `state` that stays idle, and after which time of that. Pure.
///
/// One that stands still for idleness has been idle for as long as it took until then; what is left of
/// the period counts from when that is asked.
pub(crate) fn plan_sleep(plan: &VmPlan, state: &VmState) -> Option<(Sleep, Duration)> {
    let stop = plan.idle_stop.map(|period| (Sleep::Stop(period), period.duration()));
    match state {
        VmState::Running { .. } => match (plan.idle_pause, plan.idle_stop) {
            (Some(pause), after) if after.is_none_or(|after| pause < after) => {
                Some((Sleep::Pause(pause), pause.duration()))
            }
            _ => stop,
        },
        VmState::Paused { idle: Some(idle), .. } => {
            stop.map(|(sleep, after)| (sleep, after.saturating_sub(idle.duration())))
        }
        _ => None,
    }
}

/// Tells when a VM has been idle for a period. Dropping it ends the watch.
#[derive(Debug)]
pub(crate) struct IdleWatch {
    told: oneshot::Receiver<()>,
    _task: AbortOnDropHandle<()>,
}

impl IdleWatch {
    /// Watches from now on. Needs a runtime around it.
    pub(crate) fn start(guest: GuestClient, uses: Uses, period: Duration) -> Self {
        let (tell, told) = oneshot::channel();
        let guest = guest.within(LOOK_DEADLINE);
        let task = tokio::spawn(async move {
            until_idle(&uses, period, || async { guest.stats().await.ok() }).await;
            // Nobody listens when the VM goes down at this moment.
            let _ = tell.send(());
        });
        Self { told, _task: AbortOnDropHandle::new(task) }
    }

    /// Waits for `rest` to pass in any case: nobody can begin to use a VM that sleeps without waking it.
    /// Needs a runtime around it.
    pub(crate) fn asleep(rest: Duration) -> Self {
        let (tell, told) = oneshot::channel();
        let task = tokio::spawn(async move {
            sleep_until(Instant::now() + rest).await;
            let _ = tell.send(());
        });
        Self { told, _task: AbortOnDropHandle::new(task) }
    }

    /// Waits until it is so. Cancel-safe; to be awaited to its end once.
    pub(crate) async fn idle(&mut self) {
        if (&mut self.told).await.is_err() {
            std::future::pending().await
        }
    }
}

async fn until_idle<F>(uses: &Uses, period: Duration, look: impl Fn() -> F)
where
    F: Future<Output = Option<GuestStats>>,
{
    let mut uses = uses.watch();
    loop {
        if uses.wait_for(|count| count.is_unused()).await.is_err() {
            return;
        }
        let mut quiet = Quiet::begin(Instant::now(), period);
        loop {
            let told = tokio::select! {
                biased;
                _ = uses.changed() => break,
                told = look() => told,
            };
            match quiet.observe(Instant::now(), told.as_ref()) {
                Verdict::Idle => return,
                Verdict::LookAgain(at) => tokio::select! {
                    biased;
                    _ = uses.changed() => break,
                    () = sleep_until(at) => {}
                },
            }
        }
    }
}

/// How long a guest has been quiet. Pure.
#[derive(Debug)]
struct Quiet {
    period: Duration,
    since: Instant,
    /// What the guest said last.
    last: Option<Told>,
}

/// What counts of what a guest says.
#[derive(Debug, Clone, Copy)]
struct Told {
    busy_ms: u64,
    uptime_ms: u64,
    /// Whether a job runs.
    works: bool,
}

/// What follows from a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The VM was idle for the whole period.
    Idle,
    /// Not yet.
    LookAgain(Instant),
}

impl Quiet {
    fn begin(now: Instant, period: Duration) -> Self {
        Self { period, since: now, last: None }
    }

    fn observe(&mut self, now: Instant, stats: Option<&GuestStats>) -> Verdict {
        let told = stats.map(|stats| Told {
            busy_ms: stats.cpu_busy_ms,
            uptime_ms: stats.uptime_ms,
            works: stats.jobs > 0,
        });
        let last = std::mem::replace(&mut self.last, told);
        // The first look of a quiet time is what the next ones are compared with.
        if !last.zip(told).is_some_and(|(last, told)| is_quiet(last, told)) {
            self.since = now;
        }
        let end = self.since + self.period;
        if now >= end {
            return Verdict::Idle;
        }
        let interval = (self.period / LOOKS).min(MAX_INTERVAL);
        Verdict::LookAgain((now + interval).min(end))
    }
}

/// Whether a guest had next to nothing to do from one answer to the next. One that has booted
/// meanwhile, or whose clock stands, had; and so had one with a job, however quiet that is.
fn is_quiet(last: Told, now: Told) -> bool {
    if last.works || now.works {
        return false;
    }
    let busy = now.busy_ms.checked_sub(last.busy_ms);
    let elapsed = now.uptime_ms.checked_sub(last.uptime_ms).filter(|elapsed| *elapsed > 0);
    busy.zip(elapsed).is_some_and(|(busy, elapsed)| busy as f64 <= elapsed as f64 * BUSY_SHARE)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use proptest::prelude::*;

    use super::*;
    use crate::vm::state::tests::record;

    #[test]
    fn what_is_next_depends_on_which_period_is_shorter() {
        let period = |seconds: u32| Period::try_from(seconds).ok();
        let next = |pause, stop, state: &VmState| {
            let mut plan = record("web").plan;
            (plan.idle_pause, plan.idle_stop) = (period(pause), period(stop));
            plan_sleep(&plan, state).map(|(sleep, after)| (sleep, after.as_secs()))
        };
        let (pause, stop) = (
            |seconds| Sleep::Pause(period(seconds).unwrap()),
            |seconds| Sleep::Stop(period(seconds).unwrap()),
        );
        let running = VmState::Running { guest: None };
        assert_eq!(next(0, 0, &running), None);
        assert_eq!(next(5, 0, &running), Some((pause(5), 5)));
        assert_eq!(next(0, 9, &running), Some((stop(9), 9)));
        assert_eq!(next(5, 9, &running), Some((pause(5), 5)));
        // It would stand still for nothing.
        assert_eq!(next(9, 9, &running), Some((stop(9), 9)));
        assert_eq!(next(9, 5, &running), Some((stop(5), 5)));
        let paused = |idle| VmState::Paused { guest: None, idle };
        assert_eq!(next(5, 9, &paused(period(5))), Some((stop(9), 4)));
        assert_eq!(next(5, 3, &paused(period(5))), Some((stop(3), 0)));
        assert_eq!(next(5, 0, &paused(period(5))), None);
        // Who paused it by hand wants it so.
        assert_eq!(next(5, 9, &paused(None)), None);
    }

    const PERIOD: Duration = Duration::from_secs(400);

    fn stats(uptime_ms: u64, cpu_busy_ms: u64) -> GuestStats {
        GuestStats {
            uptime_ms,
            cpus: 1,
            cpu_busy_ms,
            memory_total: 0,
            memory_available: 0,
            disk_total: 0,
            disk_free: 0,
            jobs: 0,
        }
    }

    #[test]
    fn quiet_is_a_small_share_of_one_processor() {
        let quiet = |last: (u64, u64), now: (u64, u64)| {
            let told = |(uptime_ms, busy_ms)| Told { busy_ms, uptime_ms, works: false };
            is_quiet(told(last), told(now))
        };
        assert!(quiet((1000, 500), (2000, 520)));
        assert!(!quiet((1000, 500), (2000, 521)));
        // Another boot, a clock that stands, nonsense.
        assert!(!quiet((5000, 500), (100, 500)));
        assert!(!quiet((1000, 500), (1000, 500)));
        assert!(!quiet((1000, 500), (2000, 0)));
        assert!(!quiet((0, 0), (1, u64::MAX)));
        let still = Told { busy_ms: 0, uptime_ms: 1, works: false };
        let later = Told { uptime_ms: 9, ..still };
        let works = |told| Told { works: true, ..told };
        assert!(is_quiet(still, later));
        assert!(!is_quiet(works(still), later) && !is_quiet(still, works(later)));
    }

    /// A guest by the test's clock that is at work in some seconds of its life.
    struct Guest {
        begin: Instant,
        /// First and last second of each work.
        work: Vec<(u64, u64)>,
        /// Seconds from which on it does not answer, and until when.
        deaf: (u64, u64),
        looks: RefCell<Vec<u64>>,
    }

    impl Guest {
        fn new(work: &[(u64, u64)]) -> Self {
            let looks = RefCell::default();
            Self { begin: Instant::now(), work: work.to_vec(), deaf: (0, 0), looks }
        }

        fn second(&self) -> u64 {
            self.begin.elapsed().as_secs()
        }

        async fn look(&self) -> Option<GuestStats> {
            let now = self.second();
            self.looks.borrow_mut().push(now);
            let busy = |(from, to): &(u64, u64)| now.min(*to).saturating_sub(*from);
            let busy: u64 = self.work.iter().map(busy).sum();
            let heard = !(self.deaf.0..self.deaf.1).contains(&now);
            heard.then(|| stats(1000 * now + 1, 1000 * busy))
        }

        async fn until_idle(&self, uses: &Uses) -> u64 {
            until_idle(uses, PERIOD, || self.look()).await;
            self.second()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unused_and_quiet_guest_is_idle_after_the_period() {
        let guest = Guest::new(&[]);
        assert_eq!(guest.until_idle(&Uses::default()).await, 400);
        assert!(guest.looks.borrow().windows(2).all(|pair| pair[1] - pair[0] <= 60));
        assert!(guest.looks.borrow().len() <= 9, "{:?}", guest.looks);
    }

    #[tokio::test(start_paused = true)]
    async fn work_and_silence_begin_the_period_anew() {
        // Noticed by the look after it, a minute later at most.
        let guest = Guest::new(&[(100, 110), (350, 355)]);
        assert_eq!(guest.until_idle(&Uses::default()).await, 360 + 400);
        let deaf = Guest { deaf: (100, 200), ..Guest::new(&[]) };
        let idle = deaf.until_idle(&Uses::default()).await;
        assert!((600..=700).contains(&idle), "{idle}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_use_holds_the_vm_however_short() {
        let guest = Guest::new(&[]);
        let uses = Uses::default();
        let long = uses.begin();
        let done = Cell::new(false);
        let user = async {
            tokio::time::sleep(Duration::from_secs(1000)).await;
            assert!(guest.looks.borrow().is_empty(), "a guest in use is not asked");
            drop(long);
            tokio::time::sleep(Duration::from_secs(399)).await;
            assert!(!done.get());
            drop(uses.begin());
        };
        let watch = async {
            let idle = guest.until_idle(&uses).await;
            done.set(true);
            idle
        };
        assert_eq!(tokio::join!(watch, user).0, 1000 + 399 + 400);
    }

    proptest! {
        /// Whatever a guest says, it is never idle before the period, nor sooner than that after
        /// a look that found it busy; and it is looked at often enough.
        #[test]
        fn never_too_early(answers in prop::collection::vec((0_u64..100, any::<bool>()), 1..200)) {
            let begin = Instant::now();
            let (mut now, mut quiet) = (begin, Quiet::begin(begin, PERIOD));
            let (mut uptime, mut busy, mut active) = (1, 0, begin);
            for (work, heard) in answers {
                busy += work * 100;
                let answer = heard.then(|| stats(uptime, busy));
                let first = now == begin;
                if !heard || (!first && work * 100 > 1200) {
                    active = now;
                }
                match quiet.observe(now, answer.as_ref()) {
                    Verdict::Idle => {
                        prop_assert!(now >= active + PERIOD);
                        return Ok(());
                    }
                    Verdict::LookAgain(at) => {
                        prop_assert!(at > now && at <= now + MAX_INTERVAL);
                        prop_assert!(at <= quiet.since + PERIOD);
                        uptime += u64::try_from((at - now).as_millis()).unwrap();
                        now = at;
                    }
                }
            }
        }
    }
}
