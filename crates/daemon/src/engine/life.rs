//! What is asked of a VM that is there: start, stop, pause, resume, kill, restart,
//! delete. Each is handed to the
//! VM's driver, which does them in order and says what is denied (`vm/queue.rs`).

use std::time::Duration;

use banger_proto::Problem;
use banger_proto::api::{DeleteVm, RestartVm, StartVm, StopVm, VmView};
use tokio::sync::oneshot;

use super::{Engine, Work, stopping};
use crate::progress::Progress;
use crate::vm::desk::{Ask, Reply};

impl Engine {
    /// Boots a VM that is down. The last event is `vm_ready` or `failed`.
    ///
    /// # Errors
    /// When `reference` means none or several.
    pub async fn start(&self, reference: &str, asked: StartVm) -> Result<Work, Problem> {
        let handle = self.inner.registry.find(reference)?;
        let (order, work) = self.order(asked.wait);
        handle.ask(Ask::Start(order)).await;
        Ok(work)
    }

    /// Brings a VM down; returns when it is. Goes on if the caller goes away.
    ///
    /// # Errors
    /// When `reference` means none or several, or the VM's state does not allow it.
    pub async fn stop(&self, reference: &str, asked: StopVm) -> Result<VmView, Problem> {
        let ask = |reply| down(asked.grace_seconds, Progress::none(), reply);
        self.ask_and_wait(reference, ask).await
    }

    /// Has a VM stand still, with all that runs in it; returns when it does.
    ///
    /// # Errors
    /// As [`stop`](Self::stop), and when it does not run.
    pub async fn pause(&self, reference: &str) -> Result<VmView, Problem> {
        self.ask_and_wait(reference, |reply| Ask::Pause { idle: None, reply }).await
    }

    /// Has a VM that stands still go on; returns when commands run in it.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub async fn resume(&self, reference: &str) -> Result<VmView, Problem> {
        self.ask_and_wait(reference, |reply| Ask::Resume { reply }).await
    }

    /// Ends a VM without asking its guest; returns when it is down. Goes on if the caller goes
    /// away.
    ///
    /// # Errors
    /// As [`stop`](Self::stop).
    pub async fn kill(&self, reference: &str) -> Result<VmView, Problem> {
        self.ask_and_wait(reference, |reply| Ask::Kill { reply }).await
    }

    /// Brings a VM down, if it runs, and boots it. The last event is `vm_ready` or `failed`.
    ///
    /// Goes on if the caller goes away: what ran before runs afterwards.
    ///
    /// # Errors
    /// When `reference` means none or several.
    pub async fn restart(&self, reference: &str, asked: RestartVm) -> Result<Work, Problem> {
        let handle = self.inner.registry.find(reference)?;
        let (order, work) = self.order_for_good(asked.wait);
        // Both at once, so that a stop that is asked for later comes later, too. One that fails or
        // is denied needs no answer here: the start that follows meets with the same.
        let (reply, _) = oneshot::channel();
        handle.ask(down(asked.grace_seconds, order.progress.clone(), reply)).await;
        handle.ask(Ask::Start(order)).await;
        Ok(work)
    }

    /// Removes a VM with everything that belongs to it, and returns it as it was. Goes on if
    /// the caller goes away.
    ///
    /// # Errors
    /// When `reference` means none or several, the VM is not down and only such a one was to go,
    /// or something cannot be removed; the VM is then kept in state `error`.
    pub async fn delete(&self, reference: &str, asked: DeleteVm) -> Result<VmView, Problem> {
        let DeleteVm { only_down } = asked;
        self.ask_and_wait(reference, |reply| Ask::Delete { only_down, reply }).await
    }

    pub(super) async fn ask_and_wait(
        &self,
        reference: &str,
        ask: impl FnOnce(Reply) -> Ask,
    ) -> Result<VmView, Problem> {
        let handle = self.inner.registry.find(reference)?;
        let (reply, answer) = oneshot::channel();
        handle.ask(ask(reply)).await;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }
}

/// A stop; one without any grace is a kill, so that it waits for nobody else's grace either.
fn down(grace_seconds: Option<u32>, progress: Progress, reply: Reply) -> Ask {
    match grace_seconds {
        Some(0) => Ask::Kill { reply },
        seconds => {
            let grace = seconds.map(|seconds| Duration::from_secs(seconds.into()));
            Ask::Stop { grace, progress, reply }
        }
    }
}
