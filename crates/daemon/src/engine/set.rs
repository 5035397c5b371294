//! Changing a VM that is there: what it needs that is not here yet is got before its driver is
//! asked, which goes on with everything else meanwhile.

use banger_proto::Problem;
use banger_proto::api::{SetVm, VmView};

use super::Engine;
use crate::progress::Progress;
use crate::vm::change::plan_change;
use crate::vm::desk::Ask;
use crate::vm::set::NewImage;
use crate::vm::state::{Base, VmRecord};

impl Engine {
    /// Changes a VM; returns it as it is then. Goes on if the caller goes away, once an image that
    /// is asked for is here.
    ///
    /// # Errors
    /// When `reference` means none or several, or when what is asked cannot be: then nothing is
    /// changed. When a running guest cannot be given its larger disk: then all is recorded, for
    /// its next start.
    pub async fn set(&self, reference: &str, asked: SetVm) -> Result<VmView, Problem> {
        let image = match &asked.image {
            None => None,
            Some(name) => {
                let handle = self.inner.registry.find(reference)?;
                let record = handle.shown.borrow().record.clone();
                // What is wrong is told before anything is fetched.
                plan_change(&asked, &record.plan, &record.state)?;
                Some(Box::new(self.obtain_base(name, &record).await?))
            }
        };
        let exchanged = image.is_some();
        let asked = Box::new(asked);
        let set = self.ask_and_wait(reference, |reply| Ask::Set { asked, image, reply }).await;
        if exchanged {
            // The image before it may have been nobody else's.
            self.collect_images().await;
        }
        set
    }

    /// An image for a VM, and the kernel: the one that the VM was asked for with, else the image's.
    async fn obtain_base(&self, image: &str, record: &VmRecord) -> Result<NewImage, Problem> {
        let host = &self.inner.host;
        let progress = Progress::none();
        let image = host.images.ensure(image, false, &progress).await?;
        let kernel = record.spec.kernel.clone().or(image.kernel_ref);
        let kernel = kernel.unwrap_or_else(|| host.config.default_kernel_name.value.clone());
        let found = host.kernels.ensure(&kernel, false, &progress).await?;
        found.check(host.hypervisor.features().machine)?;
        let (digest, path, run) = (image.digest, image.path, image.run);
        let base = Base { digest, path, run, kernel: Some(found.directory) };
        Ok(NewImage { base, kernel })
    }
}
