//! A VM in the hands of its driver: its record, its VMM, and the two told to the world.

use std::sync::Arc;

use banger_proto::api::{ChangeCause, VmView};
use banger_proto::{Problem, VmName};
use tokio::sync::watch;

use super::desk::Shown;
use super::news::News;
use super::registry::Registry;
use super::state::{Cause, Intent, VmRecord, VmState};
use super::undo;
use super::view::render_view;
use crate::engine::Host;
use crate::forward::Published;
use crate::guest::GuestClient;
use crate::hypervisor::RunningVm;
use crate::step::{Operation, Step, Walk};
use crate::store::{Store, StoreError};

/// A VM that somebody owns; only the owner changes it.
#[derive(Debug)]
pub(crate) struct Vm {
    /// What is recorded.
    pub(crate) record: VmRecord,
    /// The VMM, while one runs.
    pub(crate) vmm: Option<Arc<dyn RunningVm>>,
    /// The ports of the host that lead to it, from before its launch until they are forwarded.
    pub(crate) published: Option<Published>,
    /// Whether they are forwarded still, since the VM slept.
    pub(crate) keeps_ports: bool,
    /// What VMs are made with.
    pub(crate) host: Arc<Host>,
    /// Its way through the steps of what is done to it.
    pub(crate) walk: Walk,
    store: Store,
    shown: watch::Sender<Shown>,
    news: News,
    /// Why something is done with it now, or was last.
    cause: Cause,
}

impl Vm {
    /// The VM of a record, and where its changes can be seen.
    pub(crate) fn new(
        host: Arc<Host>,
        store: Store,
        record: VmRecord,
        vmm: Option<Arc<dyn RunningVm>>,
        news: News,
    ) -> (Self, watch::Receiver<Shown>) {
        let (shown, seen) = watch::channel(Shown { record: record.clone(), vmm: vmm.clone() });
        // What was there before this daemon is no news.
        if record.state == VmState::Created {
            news.tell_state(&record);
        }
        let cause = Cause::noticed(ChangeCause::Recovery);
        let walk = host.followers.walk(&record.plan.name, Operation::Create);
        (
            Self {
                record,
                vmm,
                published: None,
                keeps_ports: false,
                host,
                walk,
                store,
                shown,
                news,
                cause,
            },
            seen,
        )
    }

    /// Its name.
    pub(crate) fn name(&self) -> &VmName {
        &self.record.plan.name
    }

    /// The VM as it is shown.
    pub(crate) fn view(&self) -> VmView {
        render_view(&self.host, &self.record)
    }

    /// Its agent, while it runs.
    pub(crate) fn guest(&self) -> Option<GuestClient> {
        self.vmm.clone().map(GuestClient::new)
    }

    /// Says what the steps and states are entered for from now on.
    pub(crate) fn begin(&mut self, cause: Cause) {
        self.walk.begin(cause.what.into());
        self.cause = cause;
    }

    /// Enters a state for all to see without recording it: a state that a restart of the daemon
    /// takes back anyway.
    pub(crate) fn show(&mut self, state: VmState) {
        tracing::debug!(vm = %self.name(), state = state.name().as_str(), "VM state");
        self.record.state = state;
        self.publish();
    }

    /// Records that something is about to be made, and the state in which it is.
    pub(crate) async fn intend(&mut self, intent: Intent, state: VmState) -> Result<(), Problem> {
        if !self.record.intents.contains(&intent) {
            self.record.intents.push(intent);
        }
        self.show(state);
        Ok(self.save().await?)
    }

    /// Enters a state after something that cannot be taken back. If it cannot be recorded, the
    /// next start of the daemon finds out by looking.
    pub(crate) async fn settle(&mut self, state: VmState) {
        self.show(state);
        if let Err(error) = self.save().await {
            let error: &dyn std::error::Error = &error;
            tracing::error!(vm = %self.name(), error, "state not recorded");
        }
    }

    /// Records a change and shows it; when it cannot be recorded, nothing has changed.
    pub(crate) async fn amend(&mut self, record: VmRecord) -> Result<(), Problem> {
        self.store.update_vm(record.clone()).await?;
        self.record = record;
        self.publish();
        Ok(())
    }

    /// Ends the VMM and removes what it left.
    ///
    /// # Errors
    /// When it cannot be ended or cleaned up; then its intent stays, and nothing may be started
    /// on its disk.
    pub(crate) async fn bring_down(&mut self) -> Result<(), Problem> {
        self.published = None;
        undo::remove_vmm(&self.host, self.record.id(), &mut self.vmm, &self.walk).await?;
        self.record.intents.retain(|intent| *intent != Intent::Vmm);
        Ok(())
    }

    /// Takes everything of the VM away, its row last: as long as something is left, it is known.
    pub(crate) async fn remove(&mut self, registry: &Registry) -> Result<(), Problem> {
        self.published = None;
        undo::undo_all(&self.host, &mut self.record, &mut self.vmm, &self.walk).await?;
        self.walk.enter(Step::Forget).await;
        self.store.remove_vm(self.record.id().clone()).await?;
        registry.remove(self.record.id());
        self.news.tell_deleted(&self.record);
        Ok(())
    }

    async fn save(&mut self) -> Result<(), StoreError> {
        self.store.update_vm(self.record.clone()).await?;
        self.record.changes.clear();
        Ok(())
    }

    fn publish(&mut self) {
        if self.shown.borrow().record.state.name() != self.record.state.name() {
            self.record.note_change(&self.cause);
        }
        let shown = Shown { record: self.record.clone(), vmm: self.vmm.clone() };
        let before = self.shown.send_replace(shown).record.state;
        if News::differ(&before, &self.record.state) {
            self.news.tell_state(&self.record);
        }
    }
}
