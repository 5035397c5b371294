//! Removing files of images and kernels that no VM needs any more, after VMs went.
//!
//! What a snapshot is over is needed as long as it is there, whatever its VM is over by now.
//!
//! One task does it: a hundred deletions lead to a few looks at all there is, and none of them
//! waits for one.

use std::io;

use banger_proto::{Paths, VmId};

use super::{Engine, Inner};
use crate::kernel::InUse;
use crate::snapshot::{Manifest, Shelf};

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
        let Inner { host, stopping, .. } = &*self.inner;
        let in_use = self.kernels_in_use().await;
        // Asked after: an engine that is being closed lets go of VMs that go on.
        if !stopping.is_cancelled() {
            host.kernels.remove_unused(in_use).await;
        }
    }

    /// The kernels that VMs need, and what was saved of them.
    pub(super) async fn kernels_in_use(&self) -> InUse {
        let Inner { host, registry, .. } = &*self.inner;
        let mut in_use = registry.kernels_in_use();
        let (paths, vms) = (host.paths.clone(), registry.ids());
        let loaded = tokio::task::spawn_blocking(move || load_manifests(&paths, &vms)).await;
        match loaded.unwrap_or_else(|gone| Err(io::Error::other(gone))) {
            Ok(manifests) => in_use
                .directories
                .extend(manifests.into_iter().filter_map(|manifest| manifest.base.kernel)),
            Err(error) => {
                tracing::warn!(%error, "kernels are kept: a snapshot cannot be read");
                in_use.unknown = true;
            }
        }
        in_use
    }
}

/// What the snapshots of these VMs say of themselves, those that are being taken included.
///
/// # Errors
/// When one cannot be read: then nobody knows what it is over.
pub(super) fn load_manifests(paths: &Paths, vms: &[VmId]) -> io::Result<Vec<Manifest>> {
    let loaded = vms.iter().map(|vm| Shelf::of(paths, vm).manifests());
    Ok(loaded.collect::<io::Result<Vec<_>>>()?.into_iter().flatten().collect())
}
