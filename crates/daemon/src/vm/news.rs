//! What happens to VMs, numbered, for whoever listens.
//!
//! The last changes are kept; a listener reads them at its own pace and waits for the next only
//! when it has read all. One that is too slow finds a gap and is told so. Telling never waits
//! for a listener.
//!
//! ```text
//!  drivers ──tell──▶ ring of the last changes ◀──read── listeners, each at its own number
//!                      └── number of the last ──wake──▶
//! ```

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use banger_proto::api::VmEvent;
use banger_proto::guest::InitState;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::state::{VmRecord, VmState};

/// Changes that are kept: those of a hundred VMs' whole lives, in less than a megabyte.
const KEPT: usize = 1024;

/// The changes of all VMs. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct News {
    ring: Arc<Mutex<Ring>>,
    /// Number of the last change, to wait on.
    last: Arc<watch::Sender<u64>>,
}

/// The last changes: those up to `last`, as many as there are.
#[derive(Debug)]
struct Ring {
    changes: VecDeque<VmEvent>,
    last: u64,
}

/// What a listener finds after its number.
#[derive(Debug, PartialEq, Eq)]
enum After {
    Change(VmEvent),
    Nothing,
    /// Changes up to this number are not here.
    Missed(u64),
}

impl Ring {
    fn push(&mut self, make: impl FnOnce(u64) -> VmEvent) -> u64 {
        self.last += 1;
        if self.changes.len() == KEPT {
            self.changes.pop_front();
        }
        self.changes.push_back(make(self.last));
        self.last
    }

    fn after(&self, seq: u64) -> After {
        // Number of the change before the oldest that is kept.
        let gone = self.last - self.changes.len() as u64;
        if seq < gone || seq > self.last {
            return After::Missed(gone);
        }
        let index = usize::try_from(seq - gone).unwrap_or(usize::MAX);
        self.changes.get(index).cloned().map_or(After::Nothing, After::Change)
    }
}

impl Default for News {
    /// No changes yet. Numbers begin with the microseconds since 1970, of which there are more
    /// than changes: so they are above those of earlier daemons, and fit a float's 53 bits.
    fn default() -> Self {
        Self::after(u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(0))
    }
}

impl News {
    fn after(last: u64) -> Self {
        let ring = Ring { changes: VecDeque::new(), last };
        Self { ring: Arc::new(Mutex::new(ring)), last: Arc::new(watch::Sender::new(last)) }
    }

    /// Whether two states of a VM are different to a listener.
    pub(crate) fn differ(before: &VmState, now: &VmState) -> bool {
        let seen = |state: &VmState| (state.name(), guest_state(state), state.paused_idle());
        seen(before) != seen(now)
    }

    /// Tells that a VM came to be in its state.
    pub(crate) fn tell_state(&self, record: &VmRecord) {
        let (mut ended, mut problem) = (None, None);
        match &record.state {
            VmState::Stopped { ended: how } => ended = Some(how.clone()),
            VmState::Error { problem: what } => problem = Some(what.message.clone()),
            _ => {}
        }
        self.tell(|seq, at| VmEvent::State {
            seq,
            at,
            vm: record.id().clone(),
            name: record.plan.name.clone(),
            state: record.state.name(),
            guest: guest_state(&record.state),
            paused_idle_seconds: record.state.paused_idle(),
            ended,
            problem,
        });
    }

    /// Tells that a VM is gone.
    pub(crate) fn tell_deleted(&self, record: &VmRecord) {
        let (vm, name) = (record.id().clone(), record.plan.name.clone());
        self.tell(|seq, at| VmEvent::Deleted { seq, at, vm, name });
    }

    fn tell(&self, make: impl FnOnce(u64, String) -> VmEvent) {
        let at = Timestamp::now().to_string();
        let mut ring = self.lock();
        let last = ring.push(|seq| make(seq, at));
        // Before the lock is given up, so that the number never goes back.
        self.last.send_replace(last);
    }

    /// Listens to what comes after the change `since`, or from now on, until `end`.
    pub(crate) fn listen(&self, since: Option<u64>, end: CancellationToken) -> Listener {
        let last = self.last.subscribe();
        let position = since.unwrap_or_else(|| self.lock().last);
        Listener { news: self.clone(), last, position, begun: false, end }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        // Nobody panics while holding it, and the data would still be whole.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn guest_state(state: &VmState) -> Option<InitState> {
    match state {
        VmState::Running { guest: Some(guest) } if !guest.agent_gone => Some(guest.state),
        _ => None,
    }
}

/// One listener.
#[derive(Debug)]
pub struct Listener {
    news: News,
    last: watch::Receiver<u64>,
    /// Number of the last change it was given.
    position: u64,
    /// Whether it knows where it began.
    begun: bool,
    end: CancellationToken,
}

impl Listener {
    /// The next line, in the order of [`VmEvent`]; none when the daemon ends.
    pub async fn next(&mut self) -> Option<VmEvent> {
        loop {
            // Before looking: what is told after the look wakes us.
            self.last.mark_unchanged();
            let after = self.news.lock().after(self.position);
            let begins = !std::mem::replace(&mut self.begun, true);
            match after {
                After::Missed(seq) => {
                    self.position = seq;
                    return Some(VmEvent::Missed { seq });
                }
                _ if begins => return Some(VmEvent::Position { seq: self.position }),
                After::Change(change) => {
                    self.position = change.seq();
                    return Some(change);
                }
                After::Nothing => {}
            }
            tokio::select! {
                changed = self.last.changed() => changed.ok()?,
                () = self.end.cancelled() => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::state::tests::record;

    /// News in which changes 101 to 100 + `count` happened.
    fn news(count: u64) -> News {
        let news = News::after(100);
        for _ in 0..count {
            news.tell_deleted(&record("web"));
        }
        news
    }

    async fn first(news: &News, since: Option<u64>) -> (VmEvent, VmEvent) {
        let mut listener = news.listen(since, CancellationToken::new());
        (listener.next().await.unwrap(), listener.next().await.unwrap())
    }

    #[test]
    fn who_is_paused_by_hand_is_told_from_who_sleeps() {
        let paused = |idle| VmState::Paused { guest: None, idle };
        let idle = banger_proto::Period::try_from(5).ok();
        assert!(News::differ(&paused(idle), &paused(None)));
        assert!(!News::differ(&paused(idle), &paused(idle)));
        assert!(News::differ(&VmState::Running { guest: None }, &paused(None)));
    }

    #[tokio::test]
    async fn reading_goes_on_after_the_last_number() {
        let news = news(3);
        let (begin, next) = first(&news, Some(101)).await;
        assert_eq!((begin, next.seq()), (VmEvent::Position { seq: 101 }, 102));
        let (begin, next) = first(&news, Some(100)).await;
        assert_eq!((begin, next.seq()), (VmEvent::Position { seq: 100 }, 101));
    }

    #[tokio::test]
    async fn what_was_missed_is_told() {
        let kept = KEPT as u64;
        let news = news(kept + 5);
        // Too old; of an earlier daemon; of nobody.
        for since in [104, 0, 101 + kept + 5] {
            let (begin, next) = first(&news, Some(since)).await;
            assert_eq!((begin, next.seq()), (VmEvent::Missed { seq: 105 }, 106), "{since}");
        }
        assert_eq!(first(&news, Some(105)).await.0, VmEvent::Position { seq: 105 });
        assert_eq!(news.lock().changes.len(), KEPT);
    }

    #[tokio::test]
    async fn a_slow_listener_finds_a_gap_and_goes_on() {
        let news = news(0);
        let mut listener = news.listen(None, CancellationToken::new());
        assert_eq!(listener.next().await, Some(VmEvent::Position { seq: 100 }));
        for _ in 0..=KEPT {
            news.tell_deleted(&record("web"));
        }
        assert_eq!(listener.next().await, Some(VmEvent::Missed { seq: 101 }));
        assert_eq!(listener.next().await.map(|change| change.seq()), Some(102));
    }

    #[tokio::test]
    async fn a_listener_is_woken_and_let_go() {
        let (news, end) = (news(0), CancellationToken::new());
        let mut listener = news.listen(None, end.clone());
        listener.next().await;
        let (told, ()) = tokio::join!(listener.next(), async {
            tokio::task::yield_now().await;
            news.tell_state(&record("web"));
        });
        assert!(matches!(told, Some(VmEvent::State { seq: 101, .. })), "{told:?}");
        let (told, ()) = tokio::join!(listener.next(), async { end.cancel() });
        assert_eq!(told, None);
    }
}
