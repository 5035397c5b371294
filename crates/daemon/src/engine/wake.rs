//! Using VMs, which may sleep. The policy is `vm/wake.rs`'s.

use std::sync::Arc;

use banger_proto::Problem;

use super::Engine;
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
}
