//! One task per VM, which owns it and does its requests in order.
//!
//! ```text
//! handlers ──Ask──▶ Desk (admission) ──▶ one piece of work at a time ──▶ answer
//!                     ▲                        │ ▲
//!                     └──── asked meanwhile ───┘ └── the VMM ended, health, lifeline
//! ```
//!
//! Cause never runs outside this task: a client that goes away drops a receiver and sets off a
//! token, and the driver undoes in its own time. Commands and files of the guest do not pass
//! through here; they take the VMM's handle from [`Shown`](super::desk::Shown).

mod down;
mod pause;
mod restore;
mod sleep;

use std::collections::BTreeSet;
use std::sync::Arc;

use banger_proto::api::{ChangeCause, EndReason, Event, GuestView, SetVm, VmWorkspace};
use banger_proto::guest::Health;
use banger_proto::supervisor::VmmExit;
use banger_proto::{Code, Problem, VmName};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::boot::{self, Failure, Order};
use super::desk::{Ask, Asked, Desk, Reply, VmHandle, answer};
use super::health::{HealthFeed, Seen};
use super::idle::IdleWatch;
use super::news::News;
use super::owned::Vm;
use super::queue::Rest;
use super::registry::Registry;
use super::set::{self, NewImage};
use super::state::{Cause, VmRecord, VmState, ended_by};
use super::uses::Uses;
use super::wake::Waker;
use crate::engine::Host;
use crate::forward::{Forwards, Reach, Wanted};
use crate::guest::GuestClient;
use crate::hypervisor::RunningVm;
use crate::step::Step;
use crate::store::Store;

/// The task.
#[derive(Debug)]
pub(crate) struct Driver {
    vm: Vm,
    desk: Desk,
    registry: Registry,
    health: Option<HealthFeed>,
    uses: Uses,
    waker: Waker,
    reach: Reach,
    /// While it runs or sleeps: its ports.
    forwards: Option<Forwards>,
    /// While it runs or stands still, if it is to fall asleep when nobody uses it.
    idle: Option<IdleWatch>,
    /// When it could not be woken last, and why.
    failed_wake: Option<(Instant, Problem)>,
    /// The daemon's end.
    ending: CancellationToken,
    /// The request that an ephemeral VM lives for.
    lifeline: Option<Order>,
}

impl Driver {
    /// A driver for a VM that is recorded, and the handle to it. `vmm` is the one that runs, in
    /// state `Running`, or in state `Stopping`, which an earlier daemon left: that stop goes on.
    pub(crate) fn new(
        host: Arc<Host>,
        store: Store,
        registry: Registry,
        record: VmRecord,
        vmm: Option<Arc<dyn RunningVm>>,
        news: News,
        ending: CancellationToken,
    ) -> (Self, VmHandle) {
        let rest = match record.state {
            VmState::Created => None,
            VmState::Running { .. } | VmState::Stopping => Some(Rest::Running),
            VmState::Paused { .. } => Some(Rest::Paused),
            _ => Some(Rest::Down),
        };
        let (vm, shown) = Vm::new(Arc::clone(&host), store, record, vmm, news);
        let (uses, reach) = (Uses::default(), Reach::default());
        let stopping = vm.record.state == VmState::Stopping;
        if vm.record.state.is_asleep() {
            uses.close();
        }
        let (mut desk, handle) = Desk::open(host, shown, rest, uses.clone(), reach.clone());
        if stopping {
            desk.admit_stop();
        }
        let mut driver = Self {
            vm,
            desk,
            registry,
            health: None,
            uses,
            waker: handle.waker.clone(),
            reach,
            forwards: None,
            idle: None,
            failed_wake: None,
            ending,
            lifeline: None,
        };
        if driver.vm.record.state.is_asleep() && !driver.vm.record.state.has_vmm() {
            driver.doze();
        }
        driver.watch_guest();
        (driver, handle)
    }

    /// Begins to follow the guest that runs, if one does.
    fn watch_guest(&mut self) {
        // One that stands still tells nothing: who asks it waits until it goes on.
        let still = matches!(self.vm.record.state, VmState::Paused { .. });
        self.health = self.vm.guest().filter(|_| !still).map(HealthFeed::start);
        self.watch_idleness();
        if let Some(guest) = self.vm.guest() {
            self.forward_to(guest);
        }
    }

    /// Forwards the ports of the guest from now on. Whoever is connected stays so, also while it stands
    /// still, and whoever waits for a guest that was woken goes on to it.
    fn forward_to(&mut self, guest: GuestClient) {
        let loopback = self.vm.record.loopback(&self.vm.host.network);
        match self.forwards.take().filter(|forwards| forwards.is_at(loopback)) {
            Some(forwards) => {
                if forwards.is_dormant() {
                    forwards.serve(guest);
                }
                self.forwards = Some(forwards);
            }
            None => self.forwards = Some(self.forward(Some(guest))),
        }
    }

    /// Begins to forward the ports of the guest, or to wake it for who connects; those that were asked
    /// for are had since before its launch, unless an earlier daemon launched it.
    fn forward(&mut self, guest: Option<GuestClient>) -> Forwards {
        let host = &self.vm.host;
        let plan = &self.vm.record.plan;
        let rests = !self.vm.record.state.runs_commands();
        let listened = if rests { plan.listened.clone() } else { BTreeSet::new() };
        Forwards::start(Wanted {
            guest,
            waker: self.waker.clone(),
            reach: self.reach.clone(),
            loopback: self.vm.record.loopback(&host.network),
            publish: plan.publish.clone(),
            open: self.vm.published.take().unwrap_or_default(),
            listened,
            budget: host.forwards.clone(),
            slowness: host.hypervisor.features().slowness,
        })
    }

    /// Ends that; afterwards the ports of the host are free.
    async fn unwatch_guest(&mut self) {
        self.health = None;
        self.idle = None;
        if let Some(forwards) = self.forwards.take() {
            forwards.close().await;
        }
    }

    /// Makes the VM, then drives it.
    pub(crate) async fn create_and_run(mut self: Box<Self>, order: Order) {
        // What the making takes is given back: a VM rests for most of its life, and there are many.
        Box::pin(self.create(order)).await;
        self.run().await;
    }

    /// Drives the VM until it is deleted, or nobody holds its handle and nothing is under way.
    pub(crate) async fn run(mut self: Box<Self>) {
        if let Some(unfinished) = set::plan_rest(&self.vm.record) {
            self.desk.admit_set(unfinished);
        }
        loop {
            while let Some(Asked { ask, op, span }) = self.desk.take() {
                self.vm.begin(Cause::begin(ask.cause(), op));
                Box::pin(self.perform(ask)).instrument(span).await;
            }
            if self.desk.is_gone() || !self.idle().await {
                break;
            }
        }
        self.desk.close();
    }

    /// Waits for the next thing to happen while nothing is under way. False when nobody holds
    /// the handle any more.
    async fn idle(&mut self) -> bool {
        let Self { vm, desk, health, idle, lifeline, .. } = self;
        let happened = tokio::select! {
            biased;
            exit = wait_or_forever(vm.vmm.as_ref().map(|vmm| vmm.exited())) => Happened::Ended(exit),
            () = wait_or_forever(lifeline.as_ref().map(|order| order.cancel.cancelled())) => {
                Happened::RequestGone
            }
            open = desk.receive() => return open,
            health = wait_or_forever(health.as_mut().map(|feed| feed.health.recv())) => {
                Happened::Health(health)
            }
            () = wait_or_forever(idle.as_mut().map(IdleWatch::idle)) => Happened::Idle,
        };
        match happened {
            Happened::Ended(exit) => {
                let ended = ended_by(&exit);
                self.vm.begin(Cause::noticed(ChangeCause::Itself));
                tracing::info!(vm = %self.vm.name(), ?ended, "VM ended by itself");
                let _ = self.rest_down(VmState::Stopped { ended }).await;
            }
            Happened::RequestGone => {
                tracing::info!(vm = %self.vm.name(), "the request of an ephemeral VM ended");
                self.lifeline = None;
                self.desk.admit_deletion();
            }
            Happened::Idle => self.fall_asleep(),
            Happened::Health(Some(seen)) => self.observe(seen),
            Happened::Health(None) => self.health = None,
        }
        true
    }

    fn observe(&mut self, seen: Seen) {
        let VmState::Running { guest } = &self.vm.record.state else { return };
        let guest = match seen {
            Seen::Health(Health { init: Some(init), state, boot_id, service, .. }) => {
                Some(GuestView { init, state, boot_id, service, agent_gone: false })
            }
            Seen::Health(_) => return,
            Seen::Gone => {
                tracing::warn!(vm = %self.vm.name(), "the guest's agent has gone");
                guest.clone().map(|guest| GuestView { agent_gone: true, ..guest })
            }
        };
        self.vm.show(VmState::Running { guest });
    }

    async fn perform(&mut self, ask: Ask) {
        match ask {
            Ask::Start(order) => self.start(order).await,
            Ask::Stop { grace, progress, reply } => self.stop(grace, &progress, reply).await,
            Ask::StopIdle(after) => self.stop_idle(after).await,
            Ask::Wake { since, reply } => self.wake(since, reply).await,
            Ask::Pause { idle, reply } => self.pause(idle, reply).await,
            Ask::Resume { reply } => self.resume(reply).await,
            Ask::Kill { reply } => self.kill(reply).await,
            Ask::Hold { into, reply } => self.hold(into, reply).await,
            Ask::Restore { snapshot, order } => self.restore(snapshot, order).await,
            Ask::Set { asked, image, reply } => self.set(&asked, image, reply).await,
            Ask::NoteWorkspace { workspace, reply } => {
                self.note_workspace(*workspace, reply).await;
            }
            Ask::Delete { reply, .. } => self.delete(reply).await,
        }
    }

    async fn create(&mut self, order: Order) {
        self.vm.begin(Cause::begin(ChangeCause::Create, order.op.clone()));
        let cut = order.cancel.child_token();
        let work = boot::create(&mut self.vm, &order, &cut);
        let problem = match self.desk.attend(&cut, work).await {
            Ok(None) => return self.made(order).await,
            Ok(Some(guest)) => return self.ready(order, guest).await,
            Err(Failure::Problem(problem)) if self.vm.vmm.is_some() => {
                // It ran: what is left of it may tell why it did not come up.
                self.vm.record.ephemeral = false;
                let _ = self.rest_down(VmState::Error { problem: problem.clone() }).await;
                *problem
            }
            Err(failure) => {
                let problem = render_failure(self.vm.name(), failure);
                tracing::info!(vm = %self.vm.name(), %problem, causes = ?problem.causes, "creation taken back");
                // An undoing that fails is worse news than what led to it, but not the answer.
                let _ = self.remove().await;
                problem
            }
        };
        order.progress.send(Event::Failed { problem });
    }

    async fn start(&mut self, order: Order) {
        if matches!(self.vm.record.state, VmState::Paused { .. }) {
            match self.go_on().await {
                Ok(()) => order.send_ready(self.vm.view()),
                Err(problem) => order.progress.send(Event::Failed { problem }),
            }
            return;
        }
        match self.boot(&order).await {
            Ok(guest) => self.ready(order, guest).await,
            Err(problem) => order.progress.send(Event::Failed { problem }),
        }
    }

    /// Boots a VM that is down; one that does not come up rests again.
    async fn boot(&mut self, order: &Order) -> Result<GuestView, Problem> {
        let before = self.vm.record.state.clone();
        // Who connected to one that slept, or does now, waits for it.
        self.vm.keeps_ports = self.forwards.is_some();
        let cut = order.cancel.child_token();
        let work = boot::start(&mut self.vm, order, &cut);
        let failure = match self.desk.attend(&cut, work).await {
            Ok(guest) => return Ok(guest),
            Err(failure) => failure,
        };
        let state = match &failure {
            // One that slept goes on sleeping until the next daemon.
            Failure::Cancelled if self.ending.is_cancelled() && before.is_asleep() => before,
            Failure::Problem(problem) if self.vm.vmm.is_some() || order.unattended => {
                VmState::Error { problem: problem.clone() }
            }
            Failure::Cancelled if self.vm.vmm.is_some() => {
                VmState::Stopped { ended: EndReason::Killed }
            }
            Failure::Problem(_) | Failure::Cancelled => before,
        };
        let _ = self.rest_down(state).await;
        Err(render_failure(self.vm.name(), failure))
    }

    /// The VM was made and not started, as asked.
    async fn made(&mut self, order: Order) {
        self.vm.walk.enter(Step::Settle).await;
        self.vm.settle(VmState::Stopped { ended: EndReason::NotStarted }).await;
        self.stay();
        self.vm.walk.enter(Step::Answer).await;
        tracing::info!(vm = %self.vm.name(), "VM made");
        order.send_ready(self.vm.view());
    }

    /// Commands run: says so, and begins to listen to the guest.
    async fn ready(&mut self, order: Order, guest: GuestView) {
        self.vm.walk.enter(Step::Settle).await;
        self.vm.record.started_at = Some(Timestamp::now());
        self.vm.record.plan.previous = None;
        self.vm.settle(VmState::Running { guest: Some(guest) }).await;
        self.watch_guest();
        self.stay();
        tracing::info!(vm = %self.vm.name(), elapsed = ?order.since.elapsed(), "VM ready");
        self.vm.walk.enter(Step::Answer).await;
        order.send_ready(self.vm.view());
        // Keeping the order keeps its stream open.
        if self.vm.record.ephemeral && self.lifeline.is_none() {
            self.lifeline = Some(order);
        }
    }

    async fn set(&mut self, asked: &SetVm, image: Option<Box<NewImage>>, reply: Reply) {
        let cut = CancellationToken::new();
        let work = set::set(&mut self.vm, asked, image, &cut);
        let done = self.desk.attend(&cut, work).await;
        match &done {
            Ok(()) => tracing::info!(vm = %self.vm.name(), ?asked, "VM changed"),
            Err(problem) => {
                tracing::info!(vm = %self.vm.name(), %problem, causes = ?problem.causes, "VM not changed");
            }
        }
        if asked.idle_stop_seconds.is_some() || asked.idle_pause_seconds.is_some() {
            self.watch_idleness();
        }
        self.stay();
        self.vm.walk.enter(Step::Answer).await;
        answer(reply, done.map(|()| self.vm.view()));
    }

    async fn note_workspace(&mut self, workspace: VmWorkspace, reply: Reply) {
        let record = VmRecord { workspace: Some(workspace), ..self.vm.record.clone() };
        let noted = self.vm.amend(record).await;
        self.stay();
        answer(reply, noted.map(|()| self.vm.view()));
    }

    /// What was under way has ended, and the VM rests in the state that it is in. Whether it can be used
    /// follows from that.
    fn stay(&mut self) {
        let asleep = self.vm.record.state.is_asleep();
        let rest = match self.vm.record.state {
            VmState::Running { .. } => Rest::Running,
            VmState::Paused { .. } => Rest::Paused,
            _ => Rest::Down,
        };
        self.desk.settle(rest, asleep);
        if asleep {
            self.uses.close();
        } else {
            self.uses.reopen();
        }
    }

    async fn delete(&mut self, reply: Reply) {
        let view = self.vm.view();
        self.lifeline = None;
        self.uses.reopen();
        self.unwatch_guest().await;
        // Recorded before it begins: should the daemon be killed now, the next one goes on.
        self.vm.record.ephemeral = true;
        self.vm.settle(VmState::Stopping).await;
        let removed = self.remove().await;
        self.vm.walk.enter(Step::Answer).await;
        answer(reply, removed.map(|()| view));
    }

    /// Removes the VM and rests: gone, or in error with what could not be removed.
    async fn remove(&mut self) -> Result<(), Problem> {
        // Nothing cuts a removal short.
        let cut = CancellationToken::new();
        match self.desk.attend(&cut, self.vm.remove(&self.registry)).await {
            Ok(()) => {
                tracing::info!(vm = %self.vm.name(), "VM removed");
                self.desk.settle(Rest::Gone, false);
                Ok(())
            }
            Err(problem) => {
                tracing::error!(vm = %self.vm.name(), %problem, causes = ?problem.causes, "VM not removed");
                self.vm.record.ephemeral = false;
                self.vm.settle(VmState::Error { problem: Box::new(problem.clone()) }).await;
                self.stay();
                Err(problem)
            }
        }
    }
}

/// What happens to a VM without being asked.
enum Happened {
    Ended(VmmExit),
    RequestGone,
    Idle,
    Health(Option<Seen>),
}

/// The future's output; never, when there is none.
async fn wait_or_forever<T>(future: Option<impl Future<Output = T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

fn render_failure(name: &VmName, failure: Failure) -> Problem {
    match failure {
        Failure::Problem(problem) => *problem,
        Failure::Cancelled => {
            Problem::new(Code::Cancelled, format!("the boot of VM `{name}` was cancelled"))
        }
    }
}
