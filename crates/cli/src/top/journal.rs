//! What happened, in words: changes of VMs, and what became of what was asked for.

use std::collections::VecDeque;

use banger_proto::api::{EndReason, StateName, VmEvent};
use jiff::Timestamp;

/// Lines that are kept; more than any terminal shows.
const KEPT: usize = 500;

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Something happened to a VM.
    Change,
    /// Something was begun, or cannot be done now.
    Note,
    /// Something failed.
    Failure,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// When; absent in a line that goes on with the one before.
    pub(crate) at: Option<Timestamp>,
    /// What it is about.
    pub(crate) kind: Kind,
    /// What is told, as it came.
    pub(crate) text: String,
}

/// The last lines, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    entries: VecDeque<Entry>,
}

impl Journal {
    /// Adds a line.
    pub(crate) fn add(&mut self, at: Option<Timestamp>, kind: Kind, text: impl Into<String>) {
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { at, kind, text: text.into() });
    }

    /// Adds a failure, all its lines.
    pub(crate) fn fail(&mut self, at: Timestamp, lines: Vec<String>) {
        for (index, line) in lines.into_iter().enumerate() {
            self.add((index == 0).then_some(at), Kind::Failure, line);
        }
    }

    /// The last `count` lines, oldest first.
    pub(crate) fn last(&self, count: usize) -> impl Iterator<Item = &Entry> {
        self.entries.range(self.entries.len().saturating_sub(count)..)
    }
}

/// What a change says; nothing where only the guest's init got further, or it is no change.
/// `before` is the state that was known.
pub(crate) fn render_change(event: &VmEvent, before: Option<StateName>) -> Option<String> {
    match event {
        VmEvent::State { name, state, paused_idle_seconds, ended, problem, .. } => {
            if before == Some(*state) {
                return None;
            }
            let why = match (paused_idle_seconds, ended, problem) {
                (_, _, Some(problem)) => format!(": {problem}"),
                (Some(idle), _, None) => format!(": idle for {idle}"),
                (None, Some(ended), None) => render_end(ended),
                (None, None, None) => String::new(),
            };
            Some(format!("{name} {}{why}", state.as_str()))
        }
        VmEvent::Deleted { name, .. } => Some(format!("{name} deleted")),
        VmEvent::Position { .. } | VmEvent::Missed { .. } => None,
    }
}

/// How a VM came to be down, as far as its state does not say it.
fn render_end(ended: &EndReason) -> String {
    match ended {
        EndReason::PoweredOff | EndReason::NotStarted => String::new(),
        EndReason::Killed => ": killed".to_owned(),
        EndReason::Failed(how) | EndReason::Untold(how) => format!(": {how}"),
        EndReason::Lost => ": nobody saw it end".to_owned(),
        EndReason::Restored => ": restored from a snapshot".to_owned(),
        EndReason::Idle(idle) => format!(": idle for {idle}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(rest: serde_json::Value, before: Option<StateName>) -> Option<String> {
        let mut event = serde_json::json!({
            "event": "state", "seq": 1, "at": "2026-08-05T12:00:00Z", "vm": "aabbccddeeff",
            "name": "web",
        });
        event.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        render_change(&serde_json::from_value(event).unwrap(), before)
    }

    #[test]
    fn changes_say_why() {
        let cases = [
            (serde_json::json!({"state": "running"}), "web running"),
            (serde_json::json!({"state": "paused", "paused_idle_seconds": 300}), "idle for 5m"),
            (serde_json::json!({"state": "stopped", "ended": "killed"}), "web stopped: killed"),
            (serde_json::json!({"state": "stopped", "ended": "powered_off"}), "web stopped"),
            (
                serde_json::json!({"state": "stopped", "ended": {"failed": "the VMM was killed"}}),
                "web stopped: the VMM was killed",
            ),
            (serde_json::json!({"state": "error", "problem": "no image"}), "web error: no image"),
        ];
        for (rest, expected) in cases {
            let told = change(rest, None).unwrap();
            assert!(told.ends_with(expected), "{told}");
        }
    }

    #[test]
    fn a_guest_that_gets_further_is_no_change() {
        let further = serde_json::json!({"state": "running", "guest": "running"});
        assert_eq!(change(further.clone(), Some(StateName::Running)), None);
        assert!(change(further, Some(StateName::Booting)).is_some());
    }

    #[test]
    fn the_last_lines_are_kept() {
        let mut journal = Journal::default();
        for number in 0..KEPT + 2 {
            journal.add(None, Kind::Note, number.to_string());
        }
        assert_eq!(journal.last(usize::MAX).count(), KEPT);
        let last: Vec<_> = journal.last(2).map(|entry| entry.text.clone()).collect();
        assert_eq!(last, ["500", "501"]);
        journal.fail(Timestamp::UNIX_EPOCH, vec!["it failed".into(), "hint: wait".into()]);
        let last: Vec<_> = journal.last(2).map(|entry| entry.at.is_some()).collect();
        assert_eq!(last, [true, false]);
    }
}
