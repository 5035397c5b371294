//! Waiting for a guest that may never come: every wait of a boot, and what is said when it ends badly.
//!
//! A wait ends with the work, with the VMM's death, with the request's cancellation, or at the deadline.
//! What failed is told with what the VM's console said last.

use std::sync::Arc;
use std::time::Duration;

use banger_proto::api::EndReason;
use banger_proto::supervisor::VmmExit;
use banger_proto::{Code, Problem, VmName};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::owned::Vm;
use super::super::state::ended_by;
use super::super::{console, files};
use super::Failure;
use crate::hypervisor::RunningVm;

/// Lines of the console in an error.
const CONSOLE_TAIL: usize = 12;
/// How long a step's failure waits for the VMM's death to explain it: a link breaks a moment
/// before its VMM's end is known.
const EXPLANATION: Duration = Duration::from_secs(1);

/// The signal by which a kernel that is out of memory ends a process (signal(7)).
const SIGKILL: i32 = 9;

/// The bound of one wait for readiness.
pub(super) struct Deadline {
    at: Instant,
    after: Duration,
}

impl Deadline {
    /// That of `vm` from now on.
    pub(super) fn for_ready(vm: &Vm) -> Self {
        let slowness = vm.host.hypervisor.features().slowness;
        let after = vm.host.config.ready_timeout.value * slowness;
        Self { at: Instant::now() + after, after }
    }
}

/// Waits for a guest without waiting for a dead one.
pub(super) struct Watch<'a> {
    pub(super) vm: &'a Vm,
    pub(super) running: &'a Arc<dyn RunningVm>,
    pub(super) cancel: &'a CancellationToken,
}

impl Watch<'_> {
    /// Waits for `work`, called `what` (`cannot <what> VM`), until the VMM ends, the request is
    /// cancelled, or the deadline passes.
    pub(super) async fn over<T, E: std::error::Error + Sync>(
        &self,
        what: &str,
        deadline: Option<&Deadline>,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        let late = async {
            match deadline {
                Some(deadline) => {
                    tokio::time::sleep_until(deadline.at).await;
                    deadline.after
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Failure::Cancelled),
            exit = self.running.exited() => Err(self.died(&exit).into()),
            done = work => match done {
                Ok(done) => Ok(done),
                Err(error) => Err(self.explain(what, &error).await.into()),
            },
            after = late => Err(self.late(after).into()),
        }
    }

    /// A step failed. If that was the VMM's death seen from the other side, tells the death.
    async fn explain(&self, what: &str, error: &(dyn std::error::Error + Sync)) -> Problem {
        if let Ok(exit) = tokio::time::timeout(EXPLANATION, self.running.exited()).await {
            return self.died(&exit);
        }
        let message = format!("cannot {what} VM `{}`", self.vm.name());
        self.post_mortem(Problem::new(Code::OperationFailed, message).because(error))
    }

    fn died(&self, exit: &VmmExit) -> Problem {
        let message = format!("VM `{}` ended before it was ready", self.vm.name());
        let how = match ended_by(exit) {
            EndReason::PoweredOff => "the guest powered off".to_owned(),
            EndReason::Killed => "it was killed".to_owned(),
            EndReason::Failed(how) => console::render_short(&how),
            EndReason::Lost | EndReason::NotStarted | EndReason::Restored | EndReason::Idle(_) => {
                "nobody saw how".to_owned()
            }
            EndReason::Untold(why) => why,
        };
        let problem = Problem::new(Code::OperationFailed, message).cause(how);
        self.post_mortem(match exit.signal.filter(|_| !exit.killed) {
            Some(SIGKILL) => problem.hint(render_memory_hint(self.vm.name())),
            _ => problem,
        })
    }

    fn late(&self, after: Duration) -> Problem {
        let name = self.vm.name();
        let message = format!("VM `{name}` was not ready after {} s", after.as_secs());
        self.post_mortem(Problem::new(Code::Timeout, message))
    }

    /// What the console said last, and what can be done with the VM that is kept.
    fn post_mortem(&self, problem: Problem) -> Problem {
        let name = self.vm.name();
        let log = files::console_log(&self.vm.host.paths, self.vm.record.id());
        let tail = console::load_tail(&log, CONSOLE_TAIL);
        let problem = if tail.is_empty() {
            problem.cause("its console said nothing")
        } else {
            problem.cause(format!("its console ended with:\n{}", tail.join("\n")))
        };
        problem
            .hint(format!("the VM is kept; read its whole console: banger vm logs {name}"))
            .hint(format!("delete it: banger vm delete {name}"))
    }
}

/// The way out after a [`SIGKILL`] that nobody here has sent.
fn render_memory_hint(name: &VmName) -> String {
    format!(
        "the host may have run out of memory (`journalctl -k` tells): stop other VMs, or give this \
         one less: banger vm set --memory SIZE {name}"
    )
}
