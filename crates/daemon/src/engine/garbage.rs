//! What belongs to no VM, and to no network that a VM is on: found, and removed when that is asked for.

use std::collections::BTreeSet;

use banger_proto::api::{CollectGarbage, Garbage, Leftover, LeftoverKind};
use banger_proto::{ByteSize, Code, Problem, VmId};

use super::{Engine, Host};
use crate::net::NetworkLeftover;
use crate::snapshot::Shelf;
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
            self.remove_garbage(&mut garbage).await;
        }
        Ok(garbage)
    }

    /// Removes what was found, going on past what cannot be.
    pub(super) async fn remove_garbage(&self, garbage: &mut Garbage) {
        let (known, _) = self.known_vms();
        orphans::remove_orphans(&self.inner.host, garbage, &known).await;
        remove_network_leftovers(&self.inner.host, garbage).await;
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
        let mut garbage = orphans::observe_orphans(host, seen, &known, &busy).await;
        match host.network.observe_leftovers().await {
            Ok(left) => garbage.leftovers.extend(left.iter().map(render_leftover)),
            Err(error) => {
                let problem = Problem::from_error(Code::OperationFailed, &error);
                garbage.notices.push(format!("what is left of networks is not known: {problem}"));
            }
        }
        Ok(garbage)
    }

    /// All VMs there are, and those of them that are not at rest.
    fn known_vms(&self) -> (BTreeSet<VmId>, BTreeSet<VmId>) {
        let (mut known, mut busy) = (BTreeSet::new(), BTreeSet::new());
        let paths = &self.inner.host.paths;
        for handle in &self.inner.registry.handles() {
            let shown = handle.shown.borrow();
            known.insert(shown.record.id().clone());
            // Who tries a snapshot has no record.
            let probes = Shelf::of(paths, shown.record.id()).probes().unwrap_or_default();
            busy.extend(probes.iter().cloned());
            known.extend(probes);
            if !matches!(shown.record.state, VmState::Stopped { .. } | VmState::Error { .. }) {
                busy.insert(shown.record.id().clone());
            }
        }
        (known, busy)
    }
}

fn render_leftover(left: &NetworkLeftover) -> Leftover {
    Leftover {
        vm: None,
        kind: LeftoverKind::Network,
        path: left.path.display().to_string(),
        size: crate::disk::observe_used(&left.path).unwrap_or(ByteSize::from_bytes(0)),
        removed: false,
        problem: None,
    }
}

/// Takes away what is left of networks, going on past what cannot be.
async fn remove_network_leftovers(host: &Host, garbage: &mut Garbage) {
    // Looked for again: what was told holds no handle on what it tells.
    let left = host.network.observe_leftovers().await.unwrap_or_default();
    for leftover in garbage.leftovers.iter_mut().filter(|left| left.kind == LeftoverKind::Network) {
        let found = left.iter().find(|left| left.path.as_os_str() == leftover.path.as_str());
        let removed = match found {
            Some(found) => host.network.remove_leftover(found).await,
            // It has gone by itself.
            None => Ok(()),
        };
        match removed {
            Ok(()) => leftover.removed = true,
            Err(error) => leftover.problem = Some(error.into()),
        }
    }
}
