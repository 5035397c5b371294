//! Telling a request's client how its work goes.

use std::time::Instant;

use banger_proto::api::{Event, Stage};
use tokio::sync::mpsc;

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

    /// Says something the user should know.
    pub fn notice(&self, text: impl Into<String>) {
        self.send(Event::Notice { text: text.into() });
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
