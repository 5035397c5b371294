//! How long work looks while it is done: a live line on a terminal, plain lines when asked for,
//! nothing in a script.

use std::time::{Duration, Instant};

use banger_proto::ByteSize;
use banger_proto::api::{Event, Stage};
use banger_proto::harmless::render_line;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use crate::client::Events;
use crate::cmd::Context;
use crate::errors::CliError;
use crate::signals::Signals;
use crate::ui::{Styled, Ui};

/// Time between two plain lines about the same work.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// Time between two pictures of the live line.
const TICK: Duration = Duration::from_millis(120);

/// What a signal does to work that is followed: its request is cancelled.
pub(crate) const UNDONE: &str = "interrupted; what was begun is undone";

/// What `--progress` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum ProgressChoice {
    /// A live line on a terminal, nothing elsewhere
    #[default]
    Auto,
    /// Plain lines
    Plain,
    /// Nothing
    None,
}

/// The flag itself, for the commands that take long.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct ProgressArg {
    /// Progress on standard error: plain (lines), none, or auto (live on a terminal, else none)
    #[arg(
        long = "progress",
        value_name = "HOW",
        default_value = "auto",
        hide_possible_values = true
    )]
    choice: ProgressChoice,
}

/// Progress of one command.
#[derive(Debug)]
pub(crate) struct Progress {
    ui: Ui,
    look: Look,
}

#[derive(Debug)]
enum Look {
    Silent,
    /// Nothing but notices: a script's log is to have what was left out, and not how far it was.
    Notices,
    Plain {
        doing: String,
        last: Option<Instant>,
    },
    Live {
        bar: Option<ProgressBar>,
        doing: String,
    },
}

impl Progress {
    /// Progress as `arg` asks for and standard error allows.
    pub(crate) fn new(context: &Context, arg: ProgressArg) -> Self {
        let plain = || Look::Plain { doing: String::new(), last: None };
        let look = match arg.choice {
            ProgressChoice::None => Look::Silent,
            ProgressChoice::Plain => plain(),
            ProgressChoice::Auto if !context.ui.stderr_terminal => Look::Notices,
            ProgressChoice::Auto if !context.environment.can_animate() => plain(),
            ProgressChoice::Auto => Look::Live { bar: None, doing: String::new() },
        };
        Self { ui: context.ui, look }
    }

    /// Whether anything is shown at all.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.look, Look::Silent | Look::Notices)
    }

    /// Shows `events` until the last one, which is given back; a failure it reports becomes one
    /// here.
    ///
    /// # Errors
    /// Also when a signal comes; dropping `events` then cancels the work.
    pub(crate) async fn follow(
        &mut self,
        events: &mut Events,
        signals: &mut Signals,
    ) -> Result<Event, CliError> {
        self.follow_or(UNDONE, events, signals).await
    }

    /// The same for work that a signal means something else to, which is `interrupted`.
    ///
    /// # Errors
    /// As [`follow`](Self::follow).
    pub(crate) async fn follow_or(
        &mut self,
        interrupted: &str,
        events: &mut Events,
        signals: &mut Signals,
    ) -> Result<Event, CliError> {
        let result = loop {
            match signals.race_or(interrupted, events.next()).await {
                Ok(Event::Failed { problem }) => {
                    break Err(CliError::from(problem).of_operation(events.op_id()));
                }
                Ok(
                    last @ (Event::VmReady { .. }
                    | Event::Restored { .. }
                    | Event::ImageReady { .. }
                    | Event::KernelReady { .. }
                    | Event::WorkspaceReady { .. }
                    | Event::Copied { .. }
                    | Event::Exported { .. }),
                ) => break Ok(last),
                Ok(event) => self.show(&event),
                Err(error) => break Err(error),
            }
        };
        self.clear();
        if let Ok(Event::VmReady { millis, .. }) = &result {
            self.remark(&format!("ready in {}", render_seconds(*millis)));
        }
        result
    }

    /// Begins something without stages of its own.
    pub(crate) fn begin(&mut self, doing: &str) {
        self.clear();
        match &mut self.look {
            Look::Silent | Look::Notices => {}
            Look::Plain { doing: current, last } => {
                doing.clone_into(current);
                *last = None;
                self.ui.note(doing);
            }
            Look::Live { bar, doing: current } => {
                doing.clone_into(current);
                *bar = Some(spinner(doing));
            }
        }
    }

    /// Takes the live line away.
    pub(crate) fn clear(&mut self) {
        if let Look::Live { bar, .. } = &mut self.look
            && let Some(bar) = bar.take()
        {
            bar.finish_and_clear();
        }
    }

    /// Says something of little weight, where anything is said.
    pub(crate) fn remark(&self, text: &str) {
        self.line(self.ui.dim(text));
    }

    fn line(&self, text: impl Into<Styled>) {
        match &self.look {
            Look::Silent | Look::Notices => {}
            Look::Live { bar: Some(bar), .. } => bar.suspend(|| self.ui.note(text)),
            Look::Live { bar: None, .. } | Look::Plain { .. } => self.ui.note(text),
        }
    }

    /// Shows one event.
    pub(crate) fn show(&mut self, event: &Event) {
        match event {
            Event::Planned { spec, .. } => self.line(format!("spec: {spec}")),
            Event::StageStarted { stage } => self.begin(stage_text(*stage)),
            Event::StageFinished { stage, millis } => {
                self.clear();
                if let Look::Plain { .. } = self.look {
                    let text = stage_text(*stage);
                    self.line(format!("{text}: done in {}", render_seconds(*millis)));
                }
            }
            Event::Progress { label, done, total } => self.advance(label, *done, *total),
            Event::Notice { text } if matches!(self.look, Look::Notices) => {
                self.ui.note(format!("note: {text}"));
            }
            Event::Notice { text } => self.line(format!("note: {text}")),
            // The last events, which `follow` keeps.
            Event::VmReady { .. }
            | Event::Restored { .. }
            | Event::ImageReady { .. }
            | Event::KernelReady { .. }
            | Event::WorkspaceReady { .. }
            | Event::Copied { .. }
            | Event::Exported { .. }
            | Event::Failed { .. } => {}
        }
    }

    fn advance(&mut self, label: &str, done: u64, total: Option<u64>) {
        let label = render_line(label);
        match &mut self.look {
            Look::Silent | Look::Notices => {}
            Look::Plain { doing, last } => {
                if last.is_none_or(|last| last.elapsed() >= PLAIN_INTERVAL) {
                    *last = Some(Instant::now());
                    let doing = if doing.is_empty() { String::new() } else { format!("{doing}: ") };
                    let amount = render_amount(done, total);
                    self.ui.note(format!("{doing}{label} {amount}").trim_end());
                }
            }
            Look::Live { bar, doing } => {
                let bar = bar.get_or_insert_with(|| spinner(doing));
                if bar.length() != total || bar.prefix() != label {
                    bar.set_style(match (done, total) {
                        (_, Some(_)) => measured(),
                        (0, None) => named(),
                        (_, None) => counted(),
                    });
                    bar.set_prefix(label);
                    if let Some(total) = total {
                        bar.set_length(total);
                    }
                    bar.set_position(done);
                    bar.tick();
                    // What was there at the beginning says nothing about the speed.
                    bar.reset_eta();
                }
                bar.set_position(done);
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A stage as people say it.
fn stage_text(stage: Stage) -> &'static str {
    match stage {
        Stage::Stop => "shutting down",
        Stage::Kernel => "getting the kernel",
        Stage::Image => "getting the image",
        Stage::Disk => "making the disk",
        Stage::Boot => "booting",
        Stage::Configure => "configuring the guest",
        Stage::Workspace => "bringing the workspace in",
        Stage::System => "waiting for the system",
    }
}

fn spinner(doing: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_style(style("{spinner} {msg} {elapsed}"));
    bar.set_message(doing.to_owned());
    bar.enable_steady_tick(TICK);
    bar
}

fn measured() -> ProgressStyle {
    style(
        "{spinner} {msg}: {prefix} {binary_bytes} of {binary_total_bytes}, \
         {binary_bytes_per_sec}, {eta} left",
    )
}

fn counted() -> ProgressStyle {
    style("{spinner} {msg}: {prefix} {binary_bytes} {elapsed}")
}

fn named() -> ProgressStyle {
    style("{spinner} {msg}: {prefix} {elapsed}")
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants, and a test renders each; a bad one would only look plain.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .tick_chars("-\\|/ ")
}

/// Bytes done, of how many; nothing for work that is named and not measured.
fn render_amount(done: u64, total: Option<u64>) -> String {
    if done == 0 && total.is_none() {
        return String::new();
    }
    let done = ByteSize::from_bytes(done).human();
    match total {
        Some(total) => format!("{done} of {}", ByteSize::from_bytes(total).human()),
        None => done,
    }
}

/// `0.8s`, `12.3s`, `2m 5s`.
pub(crate) fn render_seconds(millis: u64) -> String {
    // Tenths, rounded half up, in integers.
    let tenths = millis.saturating_add(50) / 100;
    match tenths / 10 {
        seconds @ 0..60 => format!("{seconds}.{}s", tenths % 10),
        seconds => format!("{}m {}s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(render_seconds(840), "0.8s");
        assert_eq!(render_seconds(59_949), "59.9s");
        assert_eq!(render_seconds(59_950), "1m 0s");
        assert_eq!(render_seconds(125_000), "2m 5s");
        assert!(render_seconds(u64::MAX).ends_with('s'));
    }

    #[test]
    fn amounts_read_well() {
        assert_eq!(render_amount(0, None), "");
        assert_eq!(render_amount(512, None), "512 B");
        assert_eq!(render_amount(1 << 20, Some(3 << 20)), "1 MiB of 3 MiB");
    }

    #[test]
    fn templates_are_templates() {
        for template in ["{spinner} {msg} {elapsed}", "{msg}: {prefix} {binary_bytes} {elapsed}"] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
