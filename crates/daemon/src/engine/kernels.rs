//! Kernels, as far as VMs have a say in them.

use std::sync::Arc;

use banger_proto::Problem;
use banger_proto::api::{Event, KernelView, ObtainKernel};

use super::artifacts::vanished;
use super::{Engine, Work};

impl Engine {
    /// Every kernel.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn list_kernels(&self) -> Result<Vec<KernelView>, Problem> {
        Ok(self.inner.host.kernels.list().await?)
    }

    /// Gets a kernel. The last event is `kernel_ready` or `failed`.
    #[must_use]
    pub fn obtain_kernel(&self, asked: ObtainKernel) -> Work {
        let host = Arc::clone(&self.inner.host);
        self.obtain(|progress| async move {
            let name = asked.name.unwrap_or_else(|| host.config.default_kernel_name.value.clone());
            host.kernels.ensure(&name, asked.force, &progress).await?;
            let kernels = host.kernels.list().await?;
            let kernel = kernels.into_iter().find(|kernel| kernel.name == name);
            kernel
                .map(|kernel| Event::KernelReady { kernel })
                .ok_or_else(|| vanished("kernel", &name))
        })
    }
}
