//! Making what a guest says fit to be shown and stored.

use std::borrow::Cow;

use banger_proto::guest::{
    AgentHello, Configured, Copied, DiskGrown, GuestStats, Health, Job, MAX_COMMITS, PortChange,
    ServiceState, Surveyed, SystemReport, Unpacked,
};
use banger_proto::harmless::render_text;
use banger_proto::{Code, Problem};

/// Bytes in an identifier or a version.
const WORD_LIMIT: usize = 64;
/// Bytes in a message.
const TEXT_LIMIT: usize = 2 << 10;
/// Messages in a list.
const LIST_LIMIT: usize = 32;

/// A reply of the agent whose texts can be bounded.
pub(super) trait Bounded {
    /// Cuts and cleans every text in it.
    fn bound(&mut self);
}

impl Bounded for AgentHello {
    fn bound(&mut self) {
        bound_text(&mut self.agent_version, WORD_LIMIT);
        bound_text(&mut self.boot_id, WORD_LIMIT);
    }
}

impl Bounded for Configured {
    fn bound(&mut self) {
        bound_list(&mut self.warnings);
        bound_service(&mut self.service);
    }
}

impl Bounded for Health {
    fn bound(&mut self) {
        bound_text(&mut self.boot_id, WORD_LIMIT);
        bound_service(&mut self.service);
    }
}

impl Bounded for GuestStats {
    /// Numbers cannot be too long; whoever calculates with them must take any.
    fn bound(&mut self) {}
}

impl Bounded for Copied {
    fn bound(&mut self) {
        bound_list(&mut self.notes);
    }
}

impl Bounded for Job {
    fn bound(&mut self) {
        bound_list(&mut self.argv);
    }
}

impl Bounded for PortChange {
    fn bound(&mut self) {
        if let Self::Opened(listener) | Self::Closed(listener) = self
            && let Some(process) = &mut listener.process
        {
            bound_text(&mut process.name, WORD_LIMIT);
        }
    }
}

impl Bounded for Surveyed {
    fn bound(&mut self) {
        self.commit.iter_mut().for_each(|commit| bound_text(commit, WORD_LIMIT));
        self.reference.iter_mut().for_each(|reference| bound_text(reference, TEXT_LIMIT));
        self.workspace_id.iter_mut().for_each(|id| bound_text(id, WORD_LIMIT));
        // What is no object's name is left to whoever asks git about them.
        self.more_commits |= self.commits.len() > MAX_COMMITS;
        self.commits.truncate(MAX_COMMITS);
        self.commits.iter_mut().for_each(|commit| bound_text(commit, WORD_LIMIT));
        bound_list(&mut self.notes);
    }
}

impl Bounded for Unpacked {
    fn bound(&mut self) {
        bound_list(&mut self.notes);
    }
}

impl Bounded for DiskGrown {
    fn bound(&mut self) {}
}

impl Bounded for Option<SystemReport> {
    fn bound(&mut self) {
        if let Some(report) = self {
            bound_text(&mut report.state, WORD_LIMIT);
            bound_list(&mut report.failed_units);
        }
    }
}

impl Bounded for Problem {
    fn bound(&mut self) {
        if let Code::Other(code) = &mut self.code {
            bound_text(code, WORD_LIMIT);
        }
        bound_text(&mut self.message, TEXT_LIMIT);
        bound_list(&mut self.causes);
        bound_list(&mut self.hints);
        // An operation's id is given by the host.
        self.op_id = None;
    }
}

fn bound_service(service: &mut Option<ServiceState>) {
    if let Some(ServiceState::Failed { reason }) = service {
        bound_text(reason, TEXT_LIMIT);
    }
}

fn bound_list(texts: &mut Vec<String>) {
    texts.truncate(LIST_LIMIT);
    texts.iter_mut().for_each(|text| bound_text(text, TEXT_LIMIT));
}

/// Cuts `text` to `limit` bytes and makes it harmless. Whoever shows it does that again; but these
/// are words for people, and not every reader of the interface or of the log is as careful.
fn bound_text(text: &mut String, limit: usize) {
    if text.len() > limit {
        let cut = (0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(cut);
        text.push('…');
    }
    if let Cow::Owned(shown) = render_text(text) {
        *text = shown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_cannot_reach_the_terminal_or_fill_the_disk() {
        let mut problem = Problem::new(Code::NotFound, "\u{1b}]0;owned\u{7}né".repeat(1000));
        problem.causes = vec!["é".repeat(5000); 100];
        problem.op_id = Some(banger_proto::OpId::from_random([1; 6]));
        problem.bound();
        assert!(problem.message.starts_with("néné"), "{}", problem.message);
        assert!(problem.message.len() <= 3 * TEXT_LIMIT, "{}", problem.message.len());
        assert_eq!((problem.causes.len(), problem.op_id), (LIST_LIMIT, None));
        assert!(problem.causes[0].len() <= TEXT_LIMIT + '…'.len_utf8());
    }
}
