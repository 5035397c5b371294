//! Using VMs, which may sleep. The policy is `vm/wake.rs`'s.

use std::sync::Arc;

use banger_proto::api::NetworkMode;
use banger_proto::{Problem, VmName};
use tokio::sync::mpsc;

use super::{Engine, Inner};
use crate::hypervisor::RunningVm;
use crate::vm::state::VmRecord;
use crate::vm::uses::Use;

impl Engine {
    /// The VM that `reference` means, running and in use until the last of what is returned goes. One
    /// that was paused or stopped because nobody used it is woken.
    ///
    /// # Errors
    /// When `reference` means none or several, or the VM neither runs nor can be woken.
    pub(super) async fn use_awake(
        &self,
        reference: &str,
    ) -> Result<(VmRecord, Arc<dyn RunningVm>, Use), Problem> {
        // Not the whole handle: a driver runs as long as there is one.
        let waker = self.inner.registry.find(reference)?.waker;
        waker.use_awake().await
    }

    /// Has VMs woken when programs of this host ask for their addresses, where those are the guests' own:
    /// nothing of banger's sees who connects there.
    pub(super) fn follow_names(&self) {
        let Inner { host, drivers, .. } = &*self.inner;
        if host.network.mode() == NetworkMode::System {
            drivers.spawn(self.clone().wake_when_asked(host.names.asked()));
        }
    }

    async fn wake_when_asked(self, mut asked: mpsc::Receiver<VmName>) {
        let Inner { registry, drivers, stopping, .. } = &*self.inner;
        while let Some(Some(name)) = stopping.run_until_cancelled(asked.recv()).await {
            let Ok(handle) = registry.find(name.as_str()) else { continue };
            let waker = handle.waker;
            drivers.spawn(async move {
                // Whoever asked has its answer, and finds the guest as soon as it is there.
                if let Err(problem) = waker.begin().await {
                    tracing::warn!(vm = %name, %problem, "VM not woken for who asked for its name");
                }
            });
        }
    }
}
