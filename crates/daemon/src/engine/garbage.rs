//! What belongs to no VM: found, and removed when that is asked for.

use banger_proto::api::{CollectGarbage, Garbage};
use banger_proto::{Code, Problem};

use super::Engine;
use crate::vm::orphans;

impl Engine {
    /// Removes what belongs to no VM, or only tells what that is.
    ///
    /// # Errors
    /// When the places of VMs cannot be looked at.
    pub async fn collect_garbage(&self, asked: CollectGarbage) -> Result<Garbage, Problem> {
        let mut garbage = self.observe_garbage().await?;
        if !asked.dry_run {
            orphans::remove_orphans(&self.inner.host, &mut garbage).await;
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
        let handles = self.inner.registry.handles();
        let known =
            handles.iter().map(|handle| handle.shown.borrow().record.id().clone()).collect();
        Ok(orphans::observe_orphans(host, seen, &known).await)
    }
}
