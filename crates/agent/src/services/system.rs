//! The system service: what the guest's systemd says about itself, through its own `systemctl`, and
//! what it has to be told when the guest becomes another VM.
//!
//! systemd has no simpler interface than its bus; `systemctl` comes with it and speaks to it
//! without a bus daemon.

use std::sync::Arc;
use std::time::Duration;

use banger_proto::guest::{ExecRequest, InitKind, InitState, SystemReport};

use crate::context::{Context, Progress};
use crate::exec::{Plan, spawn_with_output};

/// How long one `systemctl` may take; under emulation on a busy host it takes a second or two.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of one answer that are looked at.
const ANSWER_LIMIT: usize = 16 << 10;
/// Failed units that are named.
const UNIT_LIMIT: usize = 32;

/// Asks systemd; none where the guest has none, and where it does not answer (it takes no
/// questions in its first moments).
pub(super) async fn observe(context: &Arc<Context>) -> Option<SystemReport> {
    if context.init() != Some(InitKind::Systemd) {
        return None;
    }
    let (state, failed) = tokio::join!(
        ask(context, &["systemctl", "is-system-running"]),
        ask(
            context,
            &["systemctl", "list-units", "--state=failed", "--plain", "--no-legend", "--full"],
        ),
    );
    Some(SystemReport {
        state: parse_state(&state?)?,
        failed_units: parse_units(&failed.unwrap_or_default()),
    })
}

/// Has the journal follow the machine's id, after that has changed under a running systemd. Its
/// daemon has read the id once and for all; it would go on writing where nobody looks who has the
/// new one (on disk; in `/run` all is looked at), and under the name of another machine. No stream
/// to it breaks: systemd keeps them meanwhile. Others that keep the old id (systemd itself and the
/// message bus) only tell it to those who ask, and cannot be restarted for that.
pub(super) async fn follow_machine_id(context: Arc<Context>) {
    let mut progress = context.watch_progress();
    // It takes no questions in its first moments.
    let is_up = |now: &Progress| now.state == InitState::Running;
    if context.init() != Some(InitKind::Systemd) || progress.wait_for(is_up).await.is_err() {
        return;
    }
    let restart = ["systemctl", "--no-block", "try-restart", "systemd-journald.service"];
    if let Some(said) = ask(&context, &restart).await.filter(|said| !said.is_empty()) {
        eprintln!(
            "banger-agent: the journal does not follow the machine's id: {}",
            said.trim_end()
        );
    }
}

/// What a command says, standard error included; none when it cannot be run or takes too long.
async fn ask(context: &Arc<Context>, argv: &[&str]) -> Option<String> {
    let argv = argv.iter().map(|&word| word.to_owned()).collect();
    let plan = Plan::make(context, &ExecRequest { argv, ..ExecRequest::default() }).ok()?;
    let (child, mut output) = spawn_with_output(plan).ok()?;
    let answered = async {
        let mut said = Vec::new();
        let mut ended = false;
        while !output.is_over() {
            tokio::select! {
                biased;
                piece = output.next() => {
                    let room = ANSWER_LIMIT.saturating_sub(said.len());
                    said.extend_from_slice(&piece[..piece.len().min(room)]);
                }
                _ = child.exited(), if !ended => {
                    ended = true;
                    output.note_end();
                }
            }
        }
        let _ = child.exited().await;
        said
    };
    // A child that is late is killed by being dropped.
    let said = tokio::time::timeout(PATIENCE, answered).await.ok()?;
    Some(String::from_utf8_lossy(&said).into_owned())
}

/// The one word of `is-system-running`; none when something else was said.
fn parse_state(said: &str) -> Option<String> {
    let word = said.trim();
    let is_word =
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    // `offline` is what systemctl says of a system whose systemd it does not find.
    (is_word && word != "offline").then(|| word.to_owned())
}

/// The names in a plain listing of units: the first word of each line that is a unit's name.
fn parse_units(said: &str) -> Vec<String> {
    said.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let unit = words.next().filter(|unit| unit.contains('.'))?;
            // unit, load, active: what says it failed is the third.
            (words.nth(1) == Some("failed")).then(|| unit.to_owned())
        })
        .take(UNIT_LIMIT)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosted::Hosted;

    #[test]
    fn a_state_is_one_word() {
        assert_eq!(parse_state("degraded\n").as_deref(), Some("degraded"));
        assert_eq!(parse_state("offline\n"), None);
        assert_eq!(parse_state("Failed to connect to bus: No such file or directory\n"), None);
        assert_eq!(parse_state(""), None);
    }

    #[test]
    fn units_are_those_that_failed() {
        let said = "bad.service       loaded failed failed A bad thing\n\
                    Failed to connect to bus: nothing failed\n\
                    home-a\\x2db.mount loaded failed failed /home/a-b\n\
                    good.service      loaded active running A good thing\n";
        assert_eq!(parse_units(said), ["bad.service", "home-a\\x2db.mount"]);
        assert_eq!(parse_units(&said.repeat(100)).len(), UNIT_LIMIT);
        assert!(parse_units("").is_empty());
    }

    #[tokio::test]
    async fn answers_are_whole_and_bounded() {
        let context = Context::hosted(Hosted::default());
        let said = async |script: &str| ask(&context, &["/bin/sh", "-c", script]).await;
        assert_eq!(said("echo running").await.as_deref(), Some("running\n"));
        assert_eq!(
            said("exec head -c 100000 /dev/zero").await.map(|all| all.len()),
            Some(ANSWER_LIMIT)
        );
        assert_eq!(ask(&context, &["/nowhere/systemctl"]).await, None);
    }
}
