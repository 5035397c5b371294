//! A VM is written down, and taken back to what was written.
//!
//! ```text
//!  VMM ended ─▶ recorded: what it was, `restoring` ─▶ disk replaced ─▶ recorded ─▶ its guest goes on
//!                    └── killed after this: the next start of the VM goes on from here ──┘
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use banger_proto::Problem;
use banger_proto::api::{EndReason, Event};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::Driver;
use crate::snapshot::{self, Held, Shelf, Snapshot};
use crate::step::Step;
use crate::vm::boot::Order;
use crate::vm::boot::render::{Parts, render_disks};
use crate::vm::files;
use crate::vm::plan::VmPlan;
use crate::vm::queue::Rest;
use crate::vm::state::{VmRecord, VmState};

impl Driver {
    /// Writes disk and memory to files in `into`.
    pub(super) async fn hold(
        &mut self,
        into: PathBuf,
        reply: oneshot::Sender<Result<(Held, VmRecord), Problem>>,
    ) {
        // It is short, and the guest must go on: nothing cuts it off.
        let cut = CancellationToken::new();
        let work = async {
            snapshot::finish_restoring(&mut self.vm).await?;
            snapshot::hold(&self.vm, &into).await
        };
        let held = self.desk.attend(&cut, work).await;
        if self.vm.record.state.runs_commands() {
            super::pause::set_clock(&self.vm).await;
        }
        self.stay();
        let record = self.vm.record.clone();
        // Whoever asked may have gone away.
        let _ = reply.send(held.map(|held| (held, record)));
    }

    /// Takes the VM back to a snapshot.
    pub(super) async fn restore(&mut self, snapshot: Arc<Snapshot>, order: Order) {
        if let Err(problem) = self.check_restore(&snapshot, &order).await {
            self.stay();
            order.progress.send(Event::Failed { problem });
            return;
        }
        self.unwatch_guest().await;
        self.vm.settle(VmState::Stopping).await;
        let restored = async {
            self.vm.bring_down().await?;
            let record = plan_restore(&self.vm.record, &snapshot);
            self.vm.amend(record).await?;
            snapshot::finish_restoring(&mut self.vm).await
        };
        let restored: Result<(), Problem> = restored.await;
        if let Err(problem) = restored {
            let _ = self.rest_down(VmState::Error { problem: Box::new(problem.clone()) }).await;
            order.progress.send(Event::Failed { problem });
            return;
        }
        let name = &snapshot.manifest.name;
        tracing::info!(vm = %self.vm.name(), snapshot = %name, "VM taken back");
        if order.from.is_some() {
            return self.start(order).await;
        }
        self.vm.walk.enter(Step::Settle).await;
        self.vm.settle(VmState::Stopped { ended: EndReason::Restored }).await;
        self.desk.settle(Rest::Down, false);
        self.vm.walk.enter(Step::Answer).await;
        order.progress.send(Event::Restored { vm: Box::new(self.vm.view()) });
    }

    /// What cannot go on here is refused before anything is given up for it.
    async fn check_restore(&self, snapshot: &Snapshot, order: &Order) -> Result<(), Problem> {
        let (host, name) = (&self.vm.host, &snapshot.manifest.name);
        // It may have been removed while others had their turn.
        let found = Shelf::of(&host.paths, self.vm.record.id()).find(name);
        if found.map_err(|error| snapshot::failed("cannot read the snapshot", &error))?.is_none() {
            return Err(snapshot::not_there(name, self.vm.name()));
        }
        let parts = Parts::reopen(host, &snapshot.manifest.base).await?;
        let Some(origin) = &order.from else { return Ok(()) };
        let own = files::disk(&host.paths, self.vm.record.id());
        origin.check(host, &render_disks(&snapshot.manifest.plan, &parts, own), true)
    }
}

/// The VM as it was. Who it is and what it may reach is as it is now.
fn plan_restore(now: &VmRecord, snapshot: &Snapshot) -> VmRecord {
    let then = &snapshot.manifest;
    VmRecord {
        plan: VmPlan {
            restoring: Some(then.name.clone()),
            image: then.plan.image.clone(),
            kernel: then.plan.kernel.clone(),
            vcpu: then.plan.vcpu,
            memory: then.plan.memory,
            disk_size: then.plan.disk_size,
            disk_limits: then.plan.disk_limits,
            env: then.plan.env.clone(),
            entrypoint: then.plan.entrypoint.clone(),
            link_magic: then.plan.link_magic.clone(),
            rebuilds: then.plan.rebuilds,
            previous: then.plan.previous.clone(),
            ..now.plan.clone()
        },
        base: Some(then.base.clone()),
        workspace: then.workspace.clone(),
        state: VmState::Stopped { ended: EndReason::Restored },
        ..now.clone()
    }
}
