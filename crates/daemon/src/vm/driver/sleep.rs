//! A VM that nobody uses falls asleep, and wakes for who wants something of it.
//!
//! ```text
//!            idle                    idle for longer
//!  Running ────────▶ Paused, idle ────────────────────▶ Stopped, idle
//!    │  ▲              │                                  ▲      │
//!    │  └───── wake ───┘      (or at once)                │      │
//!    │  └──────────────────────────────────── wake: boot ─┼──────┘
//!    └────────────────────────────────────────────────────┘
//! ```
//!
//! From before it falls asleep until it runs again its [uses](crate::vm::uses) are closed: who wants to
//! begin one asks to have it woken, in turn with everything else that is asked.

use banger_proto::api::{EndReason, WaitFor};
use banger_proto::{Period, Problem};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Driver;
use crate::progress::Progress;
use crate::step::Operation;
use crate::vm::boot::Order;
use crate::vm::desk::{Ask, Woken};
use crate::vm::idle::{IdleWatch, Sleep, plan_sleep};
use crate::vm::state::VmState;
use crate::vm::wake::not_running;

impl Driver {
    /// Begins to watch whether the VM is idle, or goes on to count while it sleeps.
    pub(super) fn watch_idleness(&mut self) {
        let next = plan_sleep(&self.vm.record.plan, &self.vm.record.state);
        self.idle = next.zip(self.vm.guest()).map(|((_, after), guest)| {
            match self.vm.record.state.is_asleep() {
                true => IdleWatch::asleep(after),
                false => IdleWatch::start(guest, self.uses.clone(), after),
            }
        });
    }

    /// Nothing is under way, and the VM has been idle for long enough. Whoever begins to use it before
    /// this keeps it up; whoever comes later wakes it.
    pub(super) fn fall_asleep(&mut self) {
        match plan_sleep(&self.vm.record.plan, &self.vm.record.state) {
            Some((sleep, _)) if self.uses.close() => {
                tracing::info!(vm = %self.vm.name(), ?sleep, "VM is idle");
                self.desk.admit_own(match sleep {
                    Sleep::Pause(period) => {
                        let (reply, _) = oneshot::channel();
                        Ask::Pause { idle: Some(period), reply }
                    }
                    Sleep::Stop(period) => Ask::StopIdle(period),
                });
            }
            _ => self.watch_idleness(),
        }
    }

    /// Brings down what nobody has used for so long. What goes wrong is in the VM's state; nobody waits
    /// for it.
    pub(super) async fn stop_idle(&mut self, after: Period) {
        let _ = self.shut_down(None, Some(after)).await;
    }

    /// Lets go of the guest, which is not there or goes; who connects to a port that it had wakes the VM.
    pub(super) fn doze(&mut self) {
        (self.health, self.idle) = (None, None);
        match &self.forwards {
            Some(forwards) => forwards.sleep(),
            None => self.forwards = Some(self.forward(None)),
        }
    }

    /// Notes for who comes when the VM is down how it was reached.
    pub(super) async fn keep_place(&mut self) {
        self.vm.record.plan.listened = self.reach.now().ports();
        if let Some(attached) = self.vm.record.attached() {
            self.vm.host.network.keep(attached).await;
        }
    }

    /// Wakes the VM for somebody who asked at `since`, and begins the use.
    pub(super) async fn wake(&mut self, since: Instant, reply: Woken) {
        // No idleness is watched for before this use has ended.
        let in_use = self.uses.hold();
        let failed = self.failed_wake.as_ref().filter(|(ended, _)| since < *ended);
        let woken = match (&self.vm.record.state, failed) {
            (VmState::Running { .. }, _) => Ok(()),
            (VmState::Paused { idle: Some(_), .. }, _) => self.go_on().await,
            // All who waited for one start share its end.
            (_, Some((_, problem))) => Err(problem.clone()),
            (VmState::Stopped { ended: EndReason::Idle(_) }, None) => self.start_again().await,
            // It was stopped or paused by hand in the meantime.
            _ => Err(not_running(&self.vm.record)),
        };
        self.stay();
        // Whoever asked may have gone away: then this was a short use.
        let _ = reply.send(woken.map(|()| in_use));
    }

    /// Boots a VM that was stopped for idleness. Nobody takes that back: several may wait for it.
    async fn start_again(&mut self) -> Result<(), Problem> {
        self.vm.walk.begin(Operation::Start);
        let order = Order {
            from: None,
            wait: WaitFor::Agent,
            progress: Progress::none(),
            cancel: self.ending.child_token(),
            since: Instant::now(),
            op: None,
            unattended: false,
        };
        match self.boot(&order).await {
            Ok(guest) => {
                self.ready(order, guest).await;
                Ok(())
            }
            Err(problem) => {
                tracing::warn!(vm = %self.vm.name(), %problem, causes = ?problem.causes, "VM not woken");
                self.failed_wake = Some((Instant::now(), problem.clone()));
                Err(problem)
            }
        }
    }
}
