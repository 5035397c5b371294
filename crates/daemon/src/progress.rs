//! Telling a request's client how its work goes.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use banger_proto::api::{Event, Stage};
use tokio::sync::mpsc;

/// Time between two reports of a [`Meter`].
const METER_INTERVAL: Duration = Duration::from_millis(100);

/// Where the events of one request go. Cloned freely; sending never waits and never fails: a
/// client that is gone, or none at all, loses events and nothing else.
#[derive(Debug, Clone)]
pub struct Progress {
    events: Option<mpsc::UnboundedSender<Event>>,
}

impl Progress {
    /// Progress that is sent to `events`.
    #[must_use]
    pub fn new(events: mpsc::UnboundedSender<Event>) -> Self {
        Self { events: Some(events) }
    }

    /// Progress that nobody sees.
    #[must_use]
    pub fn none() -> Self {
        Self { events: None }
    }

    /// Sends one event.
    pub fn send(&self, event: Event) {
        if let Some(events) = &self.events {
            // A closed channel is a client that went away; its request is cancelled elsewhere.
            let _ = events.send(event);
        }
    }

    /// Begins a stage; [`StageTimer::finish`] ends it. A timer that is dropped says nothing:
    /// the failure that dropped it speaks for itself.
    #[must_use]
    pub fn stage(&self, stage: Stage) -> StageTimer {
        self.send(Event::StageStarted { stage });
        StageTimer { progress: self.clone(), stage, since: Instant::now() }
    }

    /// Says how far something is: `done` of `total` units (bytes, if `label` names nothing else).
    pub fn update(&self, label: impl Into<String>, done: u64, total: Option<u64>) {
        self.send(Event::Progress { label: label.into(), done, total });
    }

    /// For what is counted in small steps: says how far `label` is, as often as people can read.
    #[must_use]
    pub fn meter(&self, label: &'static str) -> Meter {
        Meter { progress: self.clone(), label, last: Mutex::new(None) }
    }

    /// Says something the user should know.
    pub fn notice(&self, text: impl Into<String>) {
        self.send(Event::Notice { text: text.into() });
    }
}

/// How far something is, told now and then.
#[derive(Debug)]
pub struct Meter {
    progress: Progress,
    label: &'static str,
    last: Mutex<Option<Instant>>,
}

impl Meter {
    /// It is at `done` of `total` bytes. The end is always told.
    pub fn update(&self, done: u64, total: u64) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if done == total || last.is_none_or(|last| last.elapsed() >= METER_INTERVAL) {
            *last = Some(Instant::now());
            self.progress.update(self.label, done, Some(total));
        }
    }
}

/// A stage under way.
#[derive(Debug)]
pub struct StageTimer {
    progress: Progress,
    stage: Stage,
    since: Instant,
}

impl StageTimer {
    /// Ends the stage well and logs how long it took.
    pub fn finish(self) {
        let millis = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(stage = ?self.stage, millis, "stage finished");
        self.progress.send(Event::StageFinished { stage: self.stage, millis });
    }
}
