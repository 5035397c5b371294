//! A guest that stands still, and goes on.
//!
//! The record follows what was done: a daemon that is killed in between leaves a guest that stands still
//! though it is recorded as running, or the other way round, and the next one finds that by looking
//! (`recover.rs`).

use std::time::Duration;

use banger_proto::{Code, Period, Problem};

use super::Driver;
use crate::step::Step;
use crate::vm::boot::render::render_clock;
use crate::vm::desk::{Reply, answer};
use crate::vm::owned::Vm;
use crate::vm::set;
use crate::vm::state::VmState;

impl Driver {
    /// Has the guest stand still. `idle` is for how long nobody has used it, if that is why; one that
    /// stands still for that stands still by hand from now on if it is not.
    pub(super) async fn pause(&mut self, idle: Option<Period>, reply: Reply) {
        let held = hold(&self.vm).await;
        let state = &self.vm.record.state;
        if let (Ok(()), VmState::Running { guest } | VmState::Paused { guest, .. }) = (&held, state)
        {
            let guest = guest.clone();
            // A daemon that finds it so cannot ask it.
            self.vm.record.plan.listened = self.reach.now().ports();
            self.vm.walk.enter(Step::Settle).await;
            self.vm.settle(VmState::Paused { guest, idle }).await;
            tracing::info!(vm = %self.vm.name(), ?idle, "VM paused");
        }
        self.watch_guest();
        self.stay();
        self.vm.walk.enter(Step::Answer).await;
        answer(reply, held.map(|()| self.vm.view()));
    }

    pub(super) async fn resume(&mut self, reply: Reply) {
        let freed = self.go_on().await;
        self.vm.walk.enter(Step::Answer).await;
        answer(reply, freed.map(|()| self.vm.view()));
    }

    /// Tells a guest that stood still, and goes on since before this daemon drives it, what time it is.
    pub(crate) async fn catch_up(&self) {
        set_clock(&self.vm).await;
    }

    /// Has a guest that stands still go on.
    pub(super) async fn go_on(&mut self) -> Result<(), Problem> {
        let freed = free(&self.vm).await;
        if let (Ok(()), VmState::Paused { guest, .. }) = (&freed, &self.vm.record.state) {
            let guest = guest.clone();
            set_clock(&self.vm).await;
            self.vm.walk.enter(Step::Settle).await;
            self.vm.settle(VmState::Running { guest }).await;
            self.watch_guest();
            tracing::info!(vm = %self.vm.name(), "VM goes on");
            if let Some(unfinished) = set::plan_rest(&self.vm.record) {
                self.desk.admit_set(unfinished);
            }
        }
        self.stay();
        freed
    }
}

/// How long a guest may take to set its clock.
const CLOCK_DEADLINE: Duration = Duration::from_secs(5);

/// Tells a guest that stood still what time it is. One that does not hear it goes on all the same.
pub(super) async fn set_clock(vm: &Vm) {
    let Some(guest) = vm.guest() else { return };
    let set = async {
        let clock = render_clock()?;
        let set = guest.within(CLOCK_DEADLINE * vm.host.hypervisor.features().slowness);
        let set = set.set_clock(&clock).await;
        set.map_err(|error| Problem::from_error(Code::OperationFailed, &error))
    };
    if let Err(problem) = set.await {
        tracing::warn!(vm = %vm.name(), %problem, causes = ?problem.causes, "clock not set");
    }
}

/// Has the guest stand still.
pub(super) async fn hold(vm: &Vm) -> Result<(), Problem> {
    let Some(vmm) = &vm.vmm else { return Ok(()) };
    vm.walk.enter(Step::HoldGuest).await;
    vmm.pause().await.map_err(|error| Problem::from_error(Code::OperationFailed, &error))
}

/// Has the guest go on.
pub(super) async fn free(vm: &Vm) -> Result<(), Problem> {
    let Some(vmm) = &vm.vmm else { return Ok(()) };
    vm.walk.enter(Step::FreeGuest).await;
    vmm.resume().await.map_err(|error| {
        Problem::from_error(Code::OperationFailed, &error)
            .hint(format!("if it stays so: banger vm kill {}", vm.name()))
    })
}
