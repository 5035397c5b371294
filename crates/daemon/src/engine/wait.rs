//! Waiting for what becomes of a VM. Its driver publishes every change and closes the channel when
//! the VM is gone; who waits looks on, asks nothing and keeps nobody from ending.

use std::time::Duration;

use banger_proto::api::{VmCondition, VmView, WaitVm};
use banger_proto::guest::InitState;
use banger_proto::{Code, Problem};
use tokio::sync::watch;

use super::{Engine, stopping};
use crate::vm::desk::Shown;
use crate::vm::state::{VmRecord, VmState};
use crate::vm::view::render_view;

impl Engine {
    /// Waits until a VM is as asked, and returns it: as it is, or as it was last if it is gone.
    ///
    /// # Errors
    /// When `reference` means none or several, the VM is deleted or in error while it should
    /// become ready, or the time is over.
    pub async fn wait(&self, reference: &str, asked: WaitVm) -> Result<VmView, Problem> {
        // Not the whole handle: a driver runs as long as there is one.
        let mut shown = self.inner.registry.find(reference)?.shown;
        let record = tokio::select! {
            biased;
            outcome = until_so(&mut shown, asked.until) => match outcome {
                Outcome::So(record) => *record,
                Outcome::Gone if self.inner.stopping.is_cancelled() => return Err(stopping()),
                Outcome::Gone if asked.until == VmCondition::Deleted => record_of(&shown),
                Outcome::Gone => return Err(deleted(&record_of(&shown))),
            },
            seconds = pass(asked.timeout_seconds) => {
                return Err(late(&record_of(&shown), asked.until, seconds));
            }
        };
        match &record.state {
            VmState::Error { problem } if asked.until != VmCondition::Stopped => {
                let name = &record.plan.name;
                let message = format!("VM `{name}` is in error: {}", problem.message);
                let causes = problem.causes.clone();
                Err(Problem { causes, ..Problem::new(Code::OperationFailed, message) }
                    .hint(format!("banger vm show {name}")))
            }
            _ => Ok(render_view(&self.inner.host, &record)),
        }
    }
}

/// How waiting without a limit ended.
enum Outcome {
    /// The VM is as asked, or cannot become so any more.
    So(Box<VmRecord>),
    /// Its driver has ended.
    Gone,
}

async fn until_so(shown: &mut watch::Receiver<Shown>, until: VmCondition) -> Outcome {
    match shown.wait_for(|shown| is_settled(&shown.record.state, until)).await {
        Ok(shown) => Outcome::So(Box::new(shown.record.clone())),
        Err(_) => Outcome::Gone,
    }
}

/// Whether there is nothing to wait for any more. A VM that is down can still become ready:
/// somebody starts it, or is about to in a restart. One in error has failed to.
fn is_settled(state: &VmState, until: VmCondition) -> bool {
    match (until, state) {
        (VmCondition::Deleted, _) => false,
        (_, VmState::Error { .. }) => true,
        // Commands run in it as in any that runs: they wake it. Waiting does not.
        (VmCondition::Ready, VmState::Running { .. } | VmState::Paused { idle: Some(_), .. }) => {
            true
        }
        (VmCondition::System, VmState::Paused { guest, idle: Some(_) }) => {
            // One that an earlier daemon paused tells it when it goes on; it had been quiet for long.
            guest.as_ref().is_none_or(|guest| guest.state == InitState::Running)
        }
        (VmCondition::System, VmState::Running { guest }) => {
            guest.as_ref().is_some_and(|guest| guest.state == InitState::Running)
        }
        (VmCondition::Stopped, VmState::Stopped { .. }) => true,
        _ => false,
    }
}

/// Lets the seconds pass; for ever, when there is no limit.
async fn pass(seconds: Option<u32>) -> u32 {
    match seconds {
        Some(seconds) => {
            tokio::time::sleep(Duration::from_secs(seconds.into())).await;
            seconds
        }
        None => std::future::pending().await,
    }
}

fn record_of(shown: &watch::Receiver<Shown>) -> VmRecord {
    shown.borrow().record.clone()
}

fn deleted(record: &VmRecord) -> Problem {
    Problem::new(Code::NotFound, format!("VM `{}` was deleted", record.plan.name))
}

fn late(record: &VmRecord, until: VmCondition, seconds: u32) -> Problem {
    let (name, state) = (&record.plan.name, record.state.name().as_str());
    let message = format!("VM `{name}` is not {} after {seconds} s: it is {state}", until.as_str());
    let problem = Problem::new(Code::Timeout, message);
    match (&record.state, until) {
        (VmState::Stopped { .. }, VmCondition::Ready | VmCondition::System) => {
            problem.hint(format!("banger vm start {name}"))
        }
        (VmState::Paused { .. }, VmCondition::Ready | VmCondition::System) => {
            problem.hint(format!("banger vm resume {name}"))
        }
        _ => problem,
    }
}

#[cfg(test)]
mod tests {
    use banger_proto::Period;
    use banger_proto::api::{EndReason, GuestView};
    use banger_proto::guest::InitKind;

    use super::*;

    #[test]
    fn what_ends_the_waiting() {
        let running = |state| VmState::Running {
            guest: Some(GuestView {
                init: InitKind::Systemd,
                state,
                boot_id: String::new(),
                service: None,
                agent_gone: false,
            }),
        };
        let stopped = || VmState::Stopped { ended: EndReason::PoweredOff };
        let error = || VmState::Error { problem: Box::new(Problem::new(Code::Timeout, "x")) };
        let states = [
            VmState::Preparing,
            VmState::Booting,
            running(InitState::Starting),
            running(InitState::Running),
            VmState::Paused { guest: None, idle: None },
            VmState::Paused { guest: None, idle: Period::try_from(1).ok() },
            VmState::Stopping,
            stopped(),
            error(),
        ];
        let ending = |until| {
            let settled = states.iter().map(|state| u8::from(is_settled(state, until)).to_string());
            settled.collect::<String>()
        };
        assert_eq!(ending(VmCondition::Ready), "001101001");
        assert_eq!(ending(VmCondition::System), "000101001");
        assert_eq!(ending(VmCondition::Stopped), "000000011");
        assert_eq!(ending(VmCondition::Deleted), "000000000");
    }
}
