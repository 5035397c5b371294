//! One piece of work for however many ask for it at the same time.
//!
//! ```text
//! first join ──▶ task ──▶ outcome ──▶ everybody who still waits
//! later joins ───▲  │
//!                   └── progress ──▶ everybody who still waits
//! ```
//!
//! The task belongs to those who wait: when the last of them is dropped, so is the work.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use banger_proto::api::Event;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::progress::Progress;

/// Work that ended without an outcome: it panicked, or the runtime goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the work ended without an outcome")]
pub struct Lost;

/// Work under way, by name.
pub(crate) struct Flights<T> {
    by_name: Arc<Mutex<HashMap<String, Weak<Flight<T>>>>>,
}

impl<T> Clone for Flights<T> {
    fn clone(&self) -> Self {
        Self { by_name: Arc::clone(&self.by_name) }
    }
}

impl<T> std::fmt::Debug for Flights<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flights").finish_non_exhaustive()
    }
}

struct Flight<T> {
    listeners: Arc<Listeners>,
    outcome: watch::Receiver<Option<T>>,
    _task: AbortOnDropHandle<()>,
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    pub(crate) fn new() -> Self {
        Self { by_name: Arc::default() }
    }

    /// Waits for the work `name`, starting it with `start` if nobody has. `progress` gets what
    /// the work says from now on, and the last thing it said before.
    ///
    /// # Errors
    /// When the work ends without an outcome.
    pub(crate) async fn join<F>(
        &self,
        name: &str,
        progress: &Progress,
        start: impl FnOnce(Progress) -> F,
    ) -> Result<T, Lost>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let flight = self.find_or_start(name, start);
        let _listening = flight.listeners.add(progress);
        let mut outcome = flight.outcome.clone();
        let outcome = outcome.wait_for(Option::is_some).await.map_err(|_| Lost)?;
        outcome.clone().ok_or(Lost)
    }

    fn find_or_start<F>(&self, name: &str, start: impl FnOnce(Progress) -> F) -> Arc<Flight<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut by_name = lock(&self.by_name);
        // Work with an outcome is over; who comes now wants it done again.
        let under_way = by_name.get(name).and_then(Weak::upgrade);
        if let Some(flight) = under_way.filter(|flight| flight.outcome.borrow().is_none()) {
            return flight;
        }
        let (outcome_to, outcome) = watch::channel(None);
        let (events_to, events) = mpsc::unbounded_channel();
        let listeners = Arc::<Listeners>::default();
        let work = run(start(Progress::new(events_to)), events, Arc::clone(&listeners), outcome_to);
        let task = AbortOnDropHandle::new(tokio::spawn(work));
        let flight = Arc::new(Flight { listeners, outcome, _task: task });
        by_name.insert(name.to_owned(), Arc::downgrade(&flight));
        flight
    }
}

async fn run<T>(
    work: impl Future<Output = T>,
    mut events: mpsc::UnboundedReceiver<Event>,
    listeners: Arc<Listeners>,
    outcome: watch::Sender<Option<T>>,
) {
    let mut work = std::pin::pin!(work);
    let done = loop {
        tokio::select! {
            biased;
            Some(event) = events.recv() => listeners.tell(event),
            done = &mut work => break done,
        }
    };
    while let Ok(event) = events.try_recv() {
        listeners.tell(event);
    }
    outcome.send_replace(Some(done));
}

/// Those who want to know how the work goes.
#[derive(Debug, Default)]
struct Listeners {
    state: Mutex<ListenersState>,
}

#[derive(Debug, Default)]
struct ListenersState {
    by_number: BTreeMap<u64, Progress>,
    next: u64,
    last: Option<Event>,
}

impl Listeners {
    fn add(self: &Arc<Self>, progress: &Progress) -> Listening {
        let mut state = lock(&self.state);
        if let Some(event) = &state.last {
            progress.send(event.clone());
        }
        let number = state.next;
        state.next += 1;
        state.by_number.insert(number, progress.clone());
        Listening { listeners: Arc::clone(self), number }
    }

    fn tell(&self, event: Event) {
        let mut state = lock(&self.state);
        for progress in state.by_number.values() {
            progress.send(event.clone());
        }
        state.last = Some(event);
    }
}

/// Held while its owner listens: a request's stream of events ends only when nobody can add to
/// it any more.
struct Listening {
    listeners: Arc<Listeners>,
    number: u64,
}

impl Drop for Listening {
    fn drop(&mut self) {
        lock(&self.listeners.state).by_number.remove(&self.number);
    }
}

/// Nothing that is locked here can be left half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn label(event: &Event) -> &str {
        match event {
            Event::Progress { label, .. } => label,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn everybody_gets_the_outcome_and_the_progress_of_one_work() {
        let flights = Flights::<u32>::new();
        let (go, gone) = oneshot::channel::<()>();
        let (first_to, mut first) = mpsc::unbounded_channel();
        let (second_to, mut second) = mpsc::unbounded_channel();
        let one = tokio::spawn({
            let flights = flights.clone();
            async move {
                let progress = Progress::new(first_to);
                let work = |progress: Progress| async move {
                    progress.update("begun", 0, None);
                    let _ = gone.await;
                    progress.update("ending", 0, None);
                    7
                };
                flights.join("x", &progress, work).await
            }
        });
        assert_eq!(label(&first.recv().await.unwrap()), "begun");
        let two = tokio::spawn({
            let flights = flights.clone();
            async move {
                let progress = Progress::new(second_to);
                flights.join("x", &progress, |_| async { unreachable!("one is under way") }).await
            }
        });
        assert_eq!(label(&second.recv().await.unwrap()), "begun");
        go.send(()).unwrap();
        assert_eq!((one.await.unwrap(), two.await.unwrap()), (Ok(7), Ok(7)));
        assert_eq!(label(&first.recv().await.unwrap()), "ending");
        assert_eq!(label(&second.recv().await.unwrap()), "ending");
        assert!(second.recv().await.is_none(), "nobody holds the stream any more");
        assert_eq!(flights.join("x", &Progress::none(), |_| async { 8 }).await, Ok(8));
    }

    #[tokio::test]
    async fn work_goes_with_the_last_who_waits() {
        let flights = Flights::<u32>::new();
        let (alive, mut dropped) = oneshot::channel::<()>();
        let (begun_to, mut begun) = mpsc::unbounded_channel();
        let wait = |flights: Flights<u32>, alive: Option<oneshot::Sender<()>>| {
            let progress = Progress::new(begun_to.clone());
            tokio::spawn(async move {
                let work = |progress: Progress| async move {
                    progress.update("begun", 0, None);
                    let _alive = alive;
                    std::future::pending().await
                };
                flights.join("x", &progress, work).await
            })
        };
        let one = wait(flights.clone(), Some(alive));
        begun.recv().await.unwrap();
        let two = wait(flights.clone(), None);
        begun.recv().await.unwrap();
        one.abort();
        assert!(one.await.unwrap_err().is_cancelled());
        assert!(dropped.try_recv().is_err_and(|e| e == oneshot::error::TryRecvError::Empty));
        two.abort();
        assert!(two.await.unwrap_err().is_cancelled());
        assert!(dropped.await.is_err(), "the work was dropped");
    }

    #[tokio::test]
    async fn a_panic_is_no_hang() {
        let flights = Flights::<u32>::new();
        let progress = Progress::none();
        let outcome = flights.join("x", &progress, |_| async { panic!("in a test") });
        assert_eq!(outcome.await, Err(Lost));
    }
}
