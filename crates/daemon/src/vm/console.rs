//! The console log of a VM: its tail for errors, its bytes for who follows it.
//!
//! The supervisor writes the log and rotates it; this module only reads. What a guest writes is
//! hostile: what of it stands in errors is made harmless.

use std::path::{Path, PathBuf};

use banger_proto::harmless;
use futures_util::FutureExt;
use tokio::sync::watch;

use super::desk::Shown;
use super::state::VmState;
use crate::rotated::{self, Chunks};

/// Bytes at the end of a log among which the last lines are looked for.
const TAIL_BYTES: u64 = 16 << 10;
/// Longest line in an error, in characters.
const MAX_LINE: usize = 200;

/// The last `lines` lines of a log that are not empty, harmless for a terminal. An unreadable
/// log has none: the error that wants them has something else to tell.
pub(crate) fn load_tail(path: &Path, lines: usize) -> Vec<String> {
    render_tail(&rotated::load_end(path, TAIL_BYTES).unwrap_or_default(), lines)
}

fn render_tail(bytes: &[u8], lines: usize) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut tail: Vec<_> = text.lines().map(render_short).filter(|line| !line.is_empty()).collect();
    tail.drain(..tail.len().saturating_sub(lines));
    tail
}

/// Text of a guest as one short line that does nothing to a terminal.
pub(crate) fn render_short(text: &str) -> String {
    let line: String = harmless::render_line(text.trim_end()).chars().take(MAX_LINE).collect();
    line.trim_end().to_owned()
}

/// Reads a log: all of it or its last `tail` lines, then, if asked, what is written to it until
/// its VM is down. One that is being started is not down yet, one that restarts is for a moment.
///
/// Reading stops when the receiver is dropped.
pub(crate) fn stream(
    log: PathBuf,
    tail: Option<usize>,
    follow: Option<watch::Receiver<Shown>>,
) -> Chunks {
    rotated::stream(log, tail, follow.map(|shown| until_down(shown).boxed()))
}

async fn until_down(mut shown: watch::Receiver<Shown>) {
    // When the VM is deleted its driver is gone, which is an end, too.
    let is_begun = |state: &VmState| !matches!(state, VmState::Created | VmState::Preparing);
    if shown.wait_for(|shown| is_begun(&shown.record.state)).await.is_ok() {
        let _ = shown.wait_for(|shown| !shown.record.state.has_vmm()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_does_nothing_to_a_terminal() {
        let log = b"old\n\x1b[0;32mOK\x1b[0m started\r\n\n\x1b]0;title\x07evil\n\xff\xfe\ttabs\n\
            rtl \xe2\x80\xae txt\nKernel panic";
        assert_eq!(
            render_tail(log, 5),
            ["OK started", "evil", "\u{fffd}\u{fffd} tabs", "rtl \u{fffd} txt", "Kernel panic",]
        );
        assert_eq!(render_short(&"x".repeat(5000)).len(), MAX_LINE);
        assert!(load_tail(Path::new("/does/not/exist"), 3).is_empty());
    }
}
