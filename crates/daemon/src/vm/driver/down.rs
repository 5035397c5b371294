//! How a VM comes down: by its guest, or as it stands.

use std::time::Duration;

use banger_proto::api::{EndReason, Stage};
use banger_proto::guest::ShutdownRequest;
use banger_proto::supervisor::VmmExit;
use banger_proto::{Period, Problem};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Driver, pause};
use crate::progress::Progress;
use crate::step::Step;
use crate::vm::desk::{Reply, answer};
use crate::vm::owned::Vm;
use crate::vm::state::{VmState, ended_by};

/// How long a guest gets to power off when nobody said, with hardware virtualisation.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);
/// How long the agent gets to say that it will power off before the power button is pressed.
const SHUTDOWN_ANSWER: Duration = Duration::from_secs(5);

impl Driver {
    pub(super) async fn stop(
        &mut self,
        grace: Option<Duration>,
        progress: &Progress,
        reply: Reply,
    ) {
        let stage = progress.stage(Stage::Stop);
        // Nobody waits for a VM that is to be down: it does not wake from that.
        self.uses.reopen();
        if !self.vm.record.state.has_vmm() {
            // It sleeps.
            let down = self.rest_down(VmState::Stopped { ended: EndReason::PoweredOff }).await;
            return answer(reply, down.map(|()| self.vm.view()));
        }
        let down = self.shut_down(grace, None).await;
        if down.is_ok() {
            stage.finish();
        }
        self.vm.walk.enter(Step::Answer).await;
        answer(reply, down.map(|()| self.vm.view()));
    }

    /// Has the guest power off, and kills it when it does not in time. `idle` is for how long nobody has
    /// used it, if that is why.
    pub(super) async fn shut_down(
        &mut self,
        grace: Option<Duration>,
        idle: Option<Period>,
    ) -> Result<(), Problem> {
        let slowness = self.vm.host.hypervisor.features().slowness;
        let grace = grace.unwrap_or(DEFAULT_GRACE * slowness);
        if matches!(self.vm.record.state, VmState::Paused { .. })
            && let Err(problem) = pause::free(&self.vm).await
        {
            tracing::warn!(vm = %self.vm.name(), %problem, "VM is stopped as it stands");
        }
        match idle {
            Some(_) => self.doze(),
            None => self.unwatch_guest().await,
        }
        self.vm.settle(VmState::Stopping).await;
        let cut = CancellationToken::new();
        self.vm.walk.enter(Step::PowerOff).await;
        let asked = Instant::now();
        let exit = self.desk.attend(&cut, power_off(&self.vm, grace, &cut)).await;
        let ended = match (exit.as_ref().map_or(EndReason::Killed, ended_by), idle) {
            (EndReason::PoweredOff | EndReason::Killed, Some(idle)) => EndReason::Idle(idle),
            (ended, _) => ended,
        };
        // Its guest's share of a stop, all of it, which nothing here can make shorter.
        let guest_ms = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(vm = %self.vm.name(), ?ended, guest_ms, "VM stopped");
        self.rest_down(VmState::Stopped { ended }).await
    }

    /// Ends the VMM as it stands: what the guest had not written is lost.
    pub(super) async fn kill(&mut self, reply: Reply) {
        self.uses.reopen();
        self.vm.settle(VmState::Stopping).await;
        tracing::info!(vm = %self.vm.name(), "VM is killed");
        let down = self.rest_down(VmState::Stopped { ended: EndReason::Killed }).await;
        self.vm.walk.enter(Step::Answer).await;
        answer(reply, down.map(|()| self.vm.view()));
    }

    /// Removes what is left of the VMM and rests in a state without one; in error, if it cannot
    /// be ended.
    pub(super) async fn rest_down(&mut self, state: VmState) -> Result<(), Problem> {
        if state.is_asleep() {
            self.doze();
            self.keep_place().await;
        }
        let down = self.vm.bring_down().await;
        let state = match &down {
            Ok(()) => state,
            Err(problem) => {
                tracing::error!(vm = %self.vm.name(), %problem, causes = ?problem.causes, "VMM not removed");
                VmState::Error { problem: Box::new(problem.clone()) }
            }
        };
        if !state.is_asleep() {
            self.unwatch_guest().await;
            self.vm.host.network.let_go(self.vm.record.id()).await;
        }
        self.vm.walk.enter(Step::Settle).await;
        self.vm.settle(state).await;
        self.stay();
        down
    }
}

/// Asks the guest to power off and waits for it. None when it did not within `grace`, or was
/// cut short: then it has to be killed. Two thirds of the time are for the image's own program,
/// which ends first; what it needs less is the rest's.
async fn power_off(vm: &Vm, grace: Duration, cut: &CancellationToken) -> Option<VmmExit> {
    let (vmm, guest) = (vm.vmm.as_ref()?, vm.guest()?);
    let service_grace_ms = u64::try_from((grace * 2 / 3).as_millis()).ok();
    let request = ShutdownRequest { reboot: false, service_grace_ms };
    let ask = async {
        let asked = tokio::time::timeout(SHUTDOWN_ANSWER, guest.shutdown(&request)).await;
        if !matches!(asked, Ok(Ok(()))) {
            tracing::info!(vm = %vm.name(), "no answer from the agent; pressing the power button");
            if let Err(error) = vmm.power_button().await {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(vm = %vm.name(), error, "the power button does not work");
            }
        }
        std::future::pending::<VmmExit>().await
    };
    tokio::select! {
        biased;
        exit = vmm.exited() => Some(exit),
        () = cut.cancelled() => None,
        () = tokio::time::sleep(grace) => None,
        exit = ask => Some(exit),
    }
}
