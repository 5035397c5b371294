//! What belongs to no VM: found, and removed when that is asked for.

use std::collections::BTreeSet;

use banger_proto::api::{CollectGarbage, Garbage};
use banger_proto::{Code, Problem, VmId};

use super::Engine;
use crate::vm::orphans;
use crate::vm::state::VmState;

impl Engine {
    /// Removes what belongs to no VM, or only tells what that is.
    ///
    /// # Errors
    /// When the places of VMs cannot be looked at.
    pub async fn collect_garbage(&self, asked: CollectGarbage) -> Result<Garbage, Problem> {
        let mut garbage = self.observe_garbage().await?;
        if !asked.dry_run {
            let (known, _) = self.known_vms();
            orphans::remove_orphans(&self.inner.host, &mut garbage, &known).await;
        }
        Ok(garbage)
    }

    /// What belongs to no VM.
    ///
    /// # Errors
    /// When the places of VMs cannot be looked at.
    pub(super) async fn observe_garbage(&self) -> Result<Garbage, Problem> {
        let host = &self.inner.host;
        let seen = orphans::observe_dirs(&host.paths).map_err(|error| {
            Problem::new(Code::OperationFailed, "cannot look for leftovers").because(&error)
        })?;
        let (known, busy) = self.known_vms();
        Ok(orphans::observe_orphans(host, seen, &known, &busy).await)
    }

    /// All VMs there are, and those of them that are not at rest.
    fn known_vms(&self) -> (BTreeSet<VmId>, BTreeSet<VmId>) {
        let (mut known, mut busy) = (BTreeSet::new(), BTreeSet::new());
        for handle in &self.inner.registry.handles() {
            let shown = handle.shown.borrow();
            known.insert(shown.record.id().clone());
            if !matches!(shown.record.state, VmState::Stopped { .. } | VmState::Error { .. }) {
                busy.insert(shown.record.id().clone());
            }
        }
        (known, busy)
    }
}
