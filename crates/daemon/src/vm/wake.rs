//! Using a VM that may sleep: whoever wants something of its guest has it woken first.
//!
//! | the VM | who wants something of its guest |
//! |---|---|
//! | runs | uses it at once |
//! | is paused or stopped because nobody used it, or on its way there or back | waits until it runs |
//! | is paused or stopped otherwise, is being made, failed | is told so |
//!
//! Whether it sleeps is what [`Uses`] tell; the driver wakes it in its turn, once for all who wait.
//! Looking at a VM is no use of it and wakes nobody: see [`require_running`].

use std::sync::Arc;

use banger_proto::api::{EndReason, StateName};
use banger_proto::{Code, Problem};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::Span;

use super::desk::{Ask, Asked, Shown};
use super::queue::Denied;
use super::state::{VmRecord, VmState};
use super::uses::{Use, Uses};
use crate::hypervisor::RunningVm;
use crate::operation;

/// Wakes one VM. It does not keep the VM's driver; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Waker {
    asks: mpsc::WeakSender<Asked>,
    shown: watch::Receiver<Shown>,
    uses: Uses,
}

/// A use of a VM, and whether the VM slept before it.
#[derive(Debug)]
pub(crate) struct Begun {
    /// The use.
    pub(crate) in_use: Use,
    /// Whether it was woken for it.
    pub(crate) woken: bool,
}

impl Waker {
    /// What wakes the VM that `asks` is the desk of.
    pub(crate) fn new(
        asks: &mpsc::Sender<Asked>,
        shown: watch::Receiver<Shown>,
        uses: Uses,
    ) -> Self {
        Self { asks: asks.downgrade(), shown, uses }
    }

    /// The VM, running and in use until the last of what is returned goes; one that sleeps is woken.
    ///
    /// # Errors
    /// When it neither runs nor sleeps, or cannot be woken.
    pub(crate) async fn use_awake(&self) -> Result<(VmRecord, Arc<dyn RunningVm>, Use), Problem> {
        let Begun { in_use, .. } = self.begin().await?;
        let Shown { record, vmm } = self.shown.borrow().clone();
        let vmm = require_running(&record, vmm)?;
        Ok((record, vmm, in_use))
    }

    /// Begins a use, once the VM does not sleep any more. One that does not run for another reason is
    /// not looked after.
    ///
    /// # Errors
    /// When it sleeps and cannot be woken.
    pub(crate) async fn begin(&self) -> Result<Begun, Problem> {
        match self.uses.begin() {
            Some(in_use) => Ok(Begun { in_use, woken: false }),
            None => Ok(Begun { in_use: self.wake().await?, woken: true }),
        }
    }

    /// The VMM, while one runs.
    pub(crate) fn vmm(&self) -> Option<Arc<dyn RunningVm>> {
        self.shown.borrow().vmm.clone()
    }

    async fn wake(&self) -> Result<Use, Problem> {
        let (reply, woken) = oneshot::channel();
        let ask = Ask::Wake { since: Instant::now(), reply };
        let asked = Asked { ask, op: operation::current(), span: Span::current() };
        let name = || self.shown.borrow().record.plan.name.clone();
        let refused = match self.asks.upgrade() {
            Some(asks) => asks.send(asked).await.err().map(|mpsc::error::SendError(asked)| asked),
            None => Some(asked),
        };
        if let Some(Asked { ask, .. }) = refused {
            // Its driver ended between the look-up and now.
            ask.deny(&name(), Denied::BeingDeleted);
        }
        woken.await.unwrap_or_else(|_| {
            let message = format!("VM `{}` is not woken: the daemon is stopping", name());
            Err(Problem::new(Code::Cancelled, message))
        })
    }
}

/// The VMM of a VM in whose guest something is wanted. Nobody is woken.
///
/// # Errors
/// When the VM does not run, with the way out.
pub(crate) fn require_running(
    record: &VmRecord,
    vmm: Option<Arc<dyn RunningVm>>,
) -> Result<Arc<dyn RunningVm>, Problem> {
    vmm.filter(|_| record.state.runs_commands()).ok_or_else(|| not_running(record))
}

/// Says that a VM does not run, and the way out.
pub(crate) fn not_running(record: &VmRecord) -> Problem {
    let (state, name) = (record.state.name(), &record.plan.name);
    let message = format!("VM `{name}` does not run: it is {}", state.as_str());
    let mut problem = Problem::new(Code::Conflict, message);
    if let VmState::Paused { idle: Some(idle), .. }
    | VmState::Stopped { ended: EndReason::Idle(idle) } = &record.state
    {
        problem = problem.cause(format!(
            "it was idle for {idle}; looking at it does not wake it, using it does"
        ));
    }
    match state {
        StateName::Stopped | StateName::Error => problem.hint(format!("banger vm start {name}")),
        StateName::Paused => problem.hint(format!("banger vm resume {name}")),
        _ => problem,
    }
}

#[cfg(test)]
mod tests {
    use banger_proto::Period;

    use super::*;
    use crate::vm::state::tests::record;

    #[test]
    fn what_does_not_run_is_told_with_the_way_out() {
        let idle = Period::try_from(300).unwrap();
        let told = |state| {
            let Problem { message, causes, hints, .. } =
                not_running(&VmRecord { state, ..record("web") });
            [vec![message], causes, hints].concat().join("; ")
        };
        let states = [
            VmState::Booting,
            VmState::Paused { guest: None, idle: None },
            VmState::Paused { guest: None, idle: Some(idle) },
            VmState::Stopped { ended: EndReason::PoweredOff },
            VmState::Stopped { ended: EndReason::Idle(idle) },
        ];
        insta::assert_snapshot!(states.map(told).join("\n"), @r"
        VM `web` does not run: it is booting
        VM `web` does not run: it is paused; banger vm resume web
        VM `web` does not run: it is paused; it was idle for 5m; looking at it does not wake it, using it does; banger vm resume web
        VM `web` does not run: it is stopped; banger vm start web
        VM `web` does not run: it is stopped; it was idle for 5m; looking at it does not wake it, using it does; banger vm start web
        ");
    }
}
