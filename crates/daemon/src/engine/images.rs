//! Images, as far as VMs have a say in them.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use banger_proto::api::{
    Event, ImageDetails, ImageList, ImageView, ImportImage, ObtainImage, Pruned, RegisterImage,
};
use banger_proto::{ByteSize, Code, Problem, VmId};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::artifacts::vanished;
use super::unused::load_manifests;
use super::{Engine, Host, Inner, Work};
use crate::image::{ImageError, Images};
use crate::snapshot::Manifest;
use crate::vm::orphans;
use crate::vm::state::{VmRecord, VmState};

impl Engine {
    /// Every image.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn list_images(&self) -> Result<ImageList, Problem> {
        Ok(self.inner.host.images.list().await?)
    }

    /// One image that is here, and the VMs that were made from it.
    ///
    /// # Errors
    /// When it is not here.
    pub async fn show_image(&self, name: &str) -> Result<ImageDetails, Problem> {
        let image = self.view_local(name).await?;
        let vms = self.users_of(&image);
        Ok(ImageDetails { image, vms })
    }

    /// Makes an image from its recipe. The last event is `image_ready` or `failed`.
    #[must_use]
    pub fn build_image(&self, asked: ObtainImage) -> Work {
        let (host, engine) = (Arc::clone(&self.inner.host), self.clone());
        self.obtain(|progress| async move {
            let name = image_asked_for(&host, asked.name);
            let image = host.images.build(&name, asked.force, &progress).await?;
            engine.image_ready(&image.name).await
        })
    }

    /// Gets an image from wherever it is, or what is new of it. The last event is `image_ready` or
    /// `failed`.
    #[must_use]
    pub fn pull_image(&self, asked: ObtainImage) -> Work {
        let (host, engine) = (Arc::clone(&self.inner.host), self.clone());
        self.obtain(|progress| async move {
            let name = image_asked_for(&host, asked.name);
            let image = host.images.pull(&name, asked.force, &progress).await?;
            engine.image_ready(&image.name).await
        })
    }

    /// Makes an image of an archive on this host. The last event is `image_ready` or `failed`.
    #[must_use]
    pub fn import_image(&self, asked: ImportImage) -> Work {
        let (host, engine) = (Arc::clone(&self.inner.host), self.clone());
        self.obtain(|progress| async move {
            let image = host.images.import(asked, &progress).await?;
            engine.image_ready(&image.name).await
        })
    }

    /// Makes an image of the archive that `body` is. The last event is `image_ready` or `failed`.
    #[must_use]
    pub fn receive_image(
        &self,
        asked: ImportImage,
        mut body: impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
    ) -> Work {
        let (host, engine) = (Arc::clone(&self.inner.host), self.clone());
        self.obtain(|progress| async move {
            let received = host.images.receive(asked, &mut body, &progress).await;
            engine.drain(body);
            engine.image_ready(&received?.name).await
        })
    }

    /// Reads what is left of a body to its end: whoever is still sending would otherwise see a
    /// broken connection instead of the answer.
    pub(super) fn drain(
        &self,
        mut body: impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
    ) {
        let stopping = self.inner.stopping.clone();
        self.inner.drivers.spawn(async move {
            let rest = async { while let Some(Ok(_)) = body.next().await {} };
            stopping.run_until_cancelled(rest).await;
        });
    }

    /// Takes in a file system whose file stays where it is.
    ///
    /// # Errors
    /// When it is no ext4 file system, or the name is taken.
    pub async fn register_image(&self, asked: RegisterImage) -> Result<ImageView, Problem> {
        let image = self.inner.host.images.register(asked).await?;
        self.collect_images().await;
        self.view_local(&image.name).await
    }

    /// Copies the file of a registered image to where images are. The last event is
    /// `image_ready` or `failed`.
    #[must_use]
    pub fn promote_image(&self, name: String) -> Work {
        let (host, engine) = (Arc::clone(&self.inner.host), self.clone());
        self.obtain(|progress| async move {
            let image = host.images.promote(&name, &progress).await?;
            engine.image_ready(&image.name).await
        })
    }

    /// Deletes an image and returns it as it was.
    ///
    /// # Errors
    /// When it is not here, or VMs were made from it.
    pub async fn delete_image(&self, name: &str) -> Result<ImageView, Problem> {
        let image = self.view_local(name).await?;
        // While names are held no VM can begin to use it.
        let naming = self.inner.naming.lock().await;
        let vms = self.users_of(&image);
        if !vms.is_empty() {
            return Err(ImageError::InUse { name: image.name, vms }.into());
        }
        self.inner.host.images.delete(&image.name).await?;
        drop(naming);
        self.collect_images().await;
        Ok(image)
    }

    /// Removes the files of images that nothing needs any more, the cache of layers, and what
    /// killed work left.
    ///
    /// # Errors
    /// When the indexes cannot be read.
    pub async fn prune_images(&self) -> Result<Pruned, Problem> {
        let left = self.inner.host.images.prune_cache().await?;
        let mut pruned = self.try_collect_images().await?;
        pruned.files += left.files;
        pruned.bytes = ByteSize::from_bytes(pruned.bytes.bytes() + left.bytes.bytes());
        Ok(pruned)
    }

    /// Removes the files of images that nothing needs any more. What fails is tried again on the
    /// next occasion.
    pub(super) async fn collect_images(&self) {
        // A daemon that ends lets go of VMs that go on.
        if self.inner.stopping.is_cancelled() {
            return;
        }
        if let Err(problem) = self.try_collect_images().await {
            tracing::warn!(%problem, causes = ?problem.causes, "unused images not removed");
        }
    }

    async fn try_collect_images(&self) -> Result<Pruned, Problem> {
        let engine = self.clone();
        let used = move || {
            let Inner { host, registry, stopping, .. } = &*engine.inner;
            // Looked at before the VMs: one that is made meanwhile is in neither.
            let seen = orphans::observe_dirs(&host.paths).map_err(|error| {
                Problem::new(Code::OperationFailed, "cannot look for disks of VMs").because(&error)
            })?;
            let vms: Vec<_> =
                registry.handles().iter().map(|vm| vm.shown.borrow().record.clone()).collect();
            let known: BTreeSet<VmId> = vms.iter().map(|record| record.id().clone()).collect();
            // A disk without a record, as a lost database leaves it, may lie over any file. And an
            // engine that is being closed has let go of its VMs.
            if seen.unknown_to(&known).next().is_some() || stopping.is_cancelled() {
                return Ok(None);
            }
            let known: Vec<_> = known.into_iter().collect();
            let saved = load_manifests(&host.paths, &known).map_err(|error| {
                Problem::new(Code::OperationFailed, "cannot tell what snapshots are over")
                    .because(&error)
            })?;
            let saved = saved.into_iter().flat_map(|Manifest { base, plan, .. }| {
                std::iter::once(base.path).chain(plan.previous)
            });
            let used = used_files(&vms);
            Ok(used.map(|used| used.into_iter().chain(saved).collect()))
        };
        self.inner.host.images.collect(used).await
    }

    async fn image_ready(&self, name: &str) -> Result<Event, Problem> {
        self.collect_images().await;
        let image = self.inner.host.images.view(name).await?;
        let ready = |image| Event::ImageReady { image: Box::new(image) };
        image.map(ready).ok_or_else(|| vanished("image", name))
    }

    async fn view_local(&self, name: &str) -> Result<ImageView, Problem> {
        let image = self.inner.host.images.view(name).await?;
        image.ok_or_else(|| ImageError::NotHere(name.to_owned()).into())
    }

    /// Names of the VMs that use an image.
    fn users_of(&self, image: &ImageView) -> Vec<String> {
        let handles = self.inner.registry.handles();
        let names = handles.iter().filter_map(|handle| {
            let shown = handle.shown.borrow();
            let record = &shown.record;
            let uses = match &record.base {
                Some(base) => Some(base.path.display().to_string()) == image.path,
                None => Images::same_name(&record.plan.image, &image.name),
            };
            uses.then(|| record.plan.name.to_string())
        });
        names.collect()
    }
}

fn image_asked_for(host: &Host, name: Option<String>) -> String {
    name.unwrap_or_else(|| host.config.default_image_name.value.clone())
}

/// The files that VMs were made from; nothing while one is being made whose file is not known.
fn used_files(records: &[VmRecord]) -> Option<Vec<PathBuf>> {
    let bases = records.iter().filter_map(|record| match &record.base {
        Some(base) => Some(Some(base.path.clone())),
        // At rest without a file, it never came to have one.
        None if matches!(record.state, VmState::Stopped { .. } | VmState::Error { .. }) => None,
        None => Some(None),
    });
    // What a disk is over that has not been begun anew yet, and what a guest has among its disks since that
    // was done: whatever goes on from it has to have it, too.
    let previous = records.iter().filter_map(|record| record.plan.previous.clone());
    let running = records.iter().filter(|record| record.state.has_vmm());
    let running = running.filter_map(|record| record.plan.in_force.as_ref()?.previous.clone());
    bases.chain(previous.chain(running).map(Some)).collect()
}

#[cfg(test)]
mod tests {
    use banger_proto::api::{EndReason, RunConfig};

    use super::*;
    use crate::vm::state::Base;
    use crate::vm::state::tests::record;

    #[test]
    fn a_vm_that_is_being_made_may_use_any_file() {
        let resting = VmRecord {
            state: VmState::Stopped { ended: EndReason::NotStarted },
            ..record("resting")
        };
        let base = Base {
            digest: "00".into(),
            path: "/x.ext4".into(),
            run: RunConfig::default(),
            kernel: None,
        };
        let using = VmRecord { base: Some(base), ..record("using") };
        assert_eq!(used_files(&[]), Some(vec![]));
        let all = [resting, using, record("new")];
        assert_eq!(used_files(&all[..2]), Some(vec!["/x.ext4".into()]));
        assert_eq!(used_files(&all), None);
    }
}
