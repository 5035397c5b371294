//! Kernels, as far as VMs have a say in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use banger_proto::api::{
    Event, ImportKernel, KernelDetails, KernelList, KernelView, ModulesFrom, ObtainKernel,
};
use banger_proto::{Code, Problem};

use super::artifacts::vanished;
use super::{Engine, Inner, Work};
use crate::kernel::{Import, KernelError};

impl Engine {
    /// Every kernel.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn list_kernels(&self) -> Result<KernelList, Problem> {
        Ok(self.inner.host.kernels.list().await?)
    }

    /// Everything about a kernel.
    ///
    /// # Errors
    /// When nobody knows it.
    pub async fn show_kernel(&self, name: &str) -> Result<KernelDetails, Problem> {
        let host = &self.inner.host;
        let machine = host.hypervisor.features().machine;
        Ok(host.kernels.describe(name, machine, self.users_of_kernel(name).await?).await?)
    }

    /// Gets a kernel. The last event is `kernel_ready` or `failed`.
    #[must_use]
    pub fn obtain_kernel(&self, asked: ObtainKernel) -> Work {
        let (engine, host) = (self.clone(), Arc::clone(&self.inner.host));
        self.obtain(|progress| async move {
            let name = asked.name.unwrap_or_else(|| host.config.default_kernel_name.value.clone());
            if asked.force {
                engine.check_placed_kernel(&name).await?;
            }
            host.kernels.ensure(&name, asked.force, &progress).await?;
            engine.kernel_ready(&name, |notice| progress.notice(notice)).await
        })
    }

    /// Makes a kernel of what the user has. The last event is `kernel_ready` or `failed`.
    #[must_use]
    pub fn import_kernel(&self, asked: ImportKernel) -> Work {
        let (engine, host) = (self.clone(), Arc::clone(&self.inner.host));
        self.obtain(|progress| async move {
            let import = plan_import(asked)?;
            let name = import.name.clone();
            if import.force {
                engine.check_placed_kernel(&name).await?;
            }
            host.kernels.import(import, &progress).await?;
            engine.kernel_ready(&name, |notice| progress.notice(notice)).await
        })
    }

    /// Deletes a kernel and returns it as it was.
    ///
    /// # Errors
    /// When it is not here, or VMs use it.
    pub async fn delete_kernel(&self, name: &str) -> Result<KernelView, Problem> {
        let host = &self.inner.host;
        // While names are held no VM can begin to use it.
        let _naming = self.inner.naming.lock().await;
        let view = host.kernels.view(name).await?;
        let view = view.ok_or_else(|| KernelError::NotHere { name: name.to_owned() })?;
        let vms = self.users_of_kernel(name).await?;
        if !vms.is_empty() {
            return Err(KernelError::InUse { name: name.to_owned(), vms }.into());
        }
        host.kernels.delete(name).await?;
        self.remove_unused_kernels().await;
        Ok(view)
    }

    /// The kernel that was just taken in, for the last event. What it lacks is told, and what it
    /// replaced goes, where no VM needs it.
    async fn kernel_ready(&self, name: &str, notice: impl Fn(String)) -> Result<Event, Problem> {
        let host = &self.inner.host;
        self.remove_unused_kernels().await;
        let kernel = host.kernels.find(name).await?.ok_or_else(|| vanished("kernel", name))?;
        match kernel.check(host.hypervisor.features().machine) {
            Ok(text) => text.into_iter().for_each(notice),
            // It may be meant for other hosts.
            Err(error) => notice(error.to_string()),
        }
        let kernel = host.kernels.view(name).await?;
        kernel.map(|kernel| Event::KernelReady { kernel }).ok_or_else(|| vanished("kernel", name))
    }

    /// A directory placed by hand has no versions: replacing it would change what VMs boot.
    async fn check_placed_kernel(&self, name: &str) -> Result<(), Problem> {
        let placed = self.inner.host.kernels.find(name).await?.is_some_and(|kernel| kernel.placed);
        let vms = if placed { self.users_of_kernel(name).await? } else { Vec::new() };
        if vms.is_empty() {
            Ok(())
        } else {
            Err(KernelError::InUse { name: name.to_owned(), vms }.into())
        }
    }

    /// Names of the VMs that boot what the name `name` leads to now.
    async fn users_of_kernel(&self, name: &str) -> Result<Vec<String>, Problem> {
        let Inner { host, registry, .. } = &*self.inner;
        let directory = host.kernels.find(name).await?.map(|kernel| kernel.directory);
        let handles = registry.handles();
        let users = handles.iter().filter_map(|handle| {
            let shown = handle.shown.borrow();
            let record = &shown.record;
            let uses = match record.base.as_ref().and_then(|base| base.kernel.as_ref()) {
                Some(made_with) => Some(made_with) == directory.as_ref(),
                None => record.plan.kernel == name,
            };
            uses.then(|| record.plan.name.to_string())
        });
        Ok(users.collect())
    }
}

fn plan_import(asked: ImportKernel) -> Result<Import, Problem> {
    let absolute = |path: &str| {
        if Path::new(path).is_absolute() {
            Ok(PathBuf::from(path))
        } else {
            Err(Problem::new(Code::BadRequest, format!("path `{path}` is not absolute")))
        }
    };
    if let ModulesFrom::Path(path) = &asked.modules {
        absolute(path)?;
    }
    Ok(Import {
        file: absolute(&asked.path)?,
        config: asked.config.as_deref().map(absolute).transpose()?,
        name: asked.name,
        modules: asked.modules,
        description: asked.description,
        force: asked.force,
    })
}
