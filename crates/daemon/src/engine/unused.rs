//! Removing files of images and kernels that no VM needs any more, after VMs went.
//!
//! One task does it: a hundred deletions lead to a few looks at all there is, and none of them
//! waits for one.

use super::{Engine, Inner};

impl Engine {
    /// Says that a VM went. Returns at once.
    pub(super) fn collect_unused_later(&self) {
        self.inner.unused.notify_one();
    }

    /// Does it whenever it was asked for, until the engine is closed.
    pub(super) async fn collect_unused_when_asked(self) {
        let Inner { unused, stopping, .. } = &*self.inner;
        while stopping.run_until_cancelled(unused.notified()).await.is_some() {
            self.remove_unused_kernels().await;
            self.collect_images().await;
        }
    }

    /// Removes the kernels that neither a name nor a VM needs.
    pub(super) async fn remove_unused_kernels(&self) {
        let Inner { host, registry, stopping, .. } = &*self.inner;
        let in_use = registry.kernels_in_use();
        // Asked after: an engine that is being closed lets go of VMs that go on.
        if !stopping.is_cancelled() {
            host.kernels.remove_unused(in_use).await;
        }
    }
}
