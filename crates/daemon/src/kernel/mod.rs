//! Guest kernels: the local index, the catalog, getting what is missing, and the initramfs.
//!
//! A kernel is an ELF `vmlinux` and, where it needs them, the few modules without which a guest
//! does not find its disks, and a file system with those that programs in it may ask for. Where it lacks something that a VM needs on this host's machine, it is
//! refused before anything is made for the VM, saying what.
//!
//! | part | responsible for |
//! |---|---|
//! | `catalog` | what can be had: a kernel's entry in a catalog |
//! | `index` | what is here: names and versions |
//! | `manifest` | what is written about a kernel |
//! | `collect` | removing versions that nothing needs |
//! | `obtain` | getting one: package, bundle, file of the user's |
//! | `import` | what a user's file can be |
//! | `parts` | a kernel in the making |
//! | `bundle` | packing one for publishing |
//! | `features` | what a kernel must have |
//! | `views` | how kernels are shown |
//! | `initramfs` | agent and modules in one file |
//! | `known_digests` | digests of files that every boot asks for |

mod bundle;
mod catalog;
mod collect;
mod error;
mod features;
mod import;
mod index;
mod initramfs;
mod known_digests;
mod manifest;
mod obtain;
mod parts;
mod views;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use banger_proto::Paths;
use banger_proto::image_name::is_plain_name;

use crate::artifact::{Flights, Lost, WORK, WorkDirs, blocking, near_name};
use crate::catalog::Catalogs;
use crate::exec::HostEnv;
use crate::fetcher::Fetcher;
use crate::hypervisor::GuestMachine;
use crate::progress::Progress;
pub use bundle::{BundleRequest, make_bundle};
pub(crate) use catalog::CatalogKernel;
pub(crate) use collect::InUse;
pub use error::{ImportError, KernelError};
use features::{find_lacking, has_optional_modules};
pub(crate) use import::Import;
use index::{LOADABLE, Local, MODULES, VMLINUX, load, load_directory, lock};
pub use initramfs::ensure_initramfs;
pub use known_digests::KnownDigests;
use manifest::Manifest;
use obtain::{Obtainer, import_kernel, obtain_kernel};

/// A kernel that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Name; absent for the version that a VM was made with, which may have lost its name.
    pub name: Option<String>,
    /// Version, as `uname -r` gives it.
    pub version: String,
    /// Where its files are, and stay as they are while a VM uses them.
    pub directory: PathBuf,
    /// The ELF kernel.
    pub vmlinux: PathBuf,
    /// The part of the initramfs with its modules, when it has any.
    pub modules: Option<PathBuf>,
    /// The file system with the modules that programs in a guest may ask for, when it has one.
    pub loadable: Option<PathBuf>,
    /// Whether somebody placed its directory by hand; there is no other version of it then.
    pub placed: bool,
    manifest: Manifest,
}

impl Kernel {
    fn new(name: Option<&str>, local: Local) -> Self {
        Self {
            name: name.map(str::to_owned),
            version: local.manifest.version.clone(),
            vmlinux: local.directory.join(VMLINUX),
            modules: local.modules.then(|| local.directory.join(MODULES)),
            loadable: local.loadable.then(|| local.directory.join(LOADABLE)),
            directory: local.directory,
            placed: local.placed,
            manifest: local.manifest,
        }
    }

    /// Checks that VMs of `machine` can run on it. What the user should know meanwhile is returned.
    ///
    /// # Errors
    /// When it lacks something.
    pub fn check(&self, machine: GuestMachine) -> Result<Option<String>, KernelError> {
        let shown = self.name.as_deref().unwrap_or(&self.version);
        if self.manifest.features.is_empty() {
            return Ok(Some(format!(
                "Nothing tells what kernel `{shown}` was built with; whether it can run a VM shows \
                 when it boots."
            )));
        }
        let modules = self.manifest.modules(self.modules.is_some());
        let lacking = find_lacking(&self.manifest.features, modules, machine);
        if lacking.is_empty() {
            Ok(None)
        } else {
            Err(KernelError::Unfit { name: shown.to_owned(), lacking })
        }
    }
}

/// The kernels of one user.
#[derive(Debug, Clone)]
pub struct Kernels {
    obtainer: Obtainer,
    catalogs: Catalogs<CatalogKernel>,
    state_dir: PathBuf,
    flights: Flights<Result<(), Arc<KernelError>>>,
}

impl Kernels {
    /// The kernels under `paths`, got with programs found in `env` or by `fetcher`; `catalog_url`
    /// is where more of them may be known.
    #[must_use]
    pub fn new(
        paths: &Paths,
        env: &HostEnv,
        fetcher: &Fetcher,
        catalog_url: Option<String>,
    ) -> Self {
        let kernels = paths.kernels_dir();
        let work = WorkDirs::new(kernels.join(WORK), env.clone());
        let obtainer = Obtainer { kernels, work, env: env.clone(), fetcher: fetcher.clone() };
        let catalogs = Catalogs::new(catalog_url, fetcher, &paths.cache_dir);
        let state_dir = paths.state_dir.clone();
        Self { obtainer, catalogs, state_dir, flights: Flights::new() }
    }

    /// For the start of a daemon: tells others that its VMs may use kernels, and removes what was
    /// left by work that was killed with its daemon, and what neither a name nor a VM needs. What
    /// does not work is logged: it keeps nobody from anything.
    pub(crate) async fn settle(&self, in_use: InUse) {
        let (kernels, state_dir) = (self.obtainer.kernels.clone(), self.state_dir.clone());
        let marked = blocking(move || {
            let held = lock(&kernels)?;
            collect::mark_user(&kernels, &held, &state_dir)
        });
        log_failure("the daemon left no mark among the kernels", marked.await);
        self.obtainer.work.remove_leftovers().await;
        self.remove_unused(in_use).await;
    }

    /// Removes the versions that neither a name nor a VM needs. What cannot be removed is logged.
    pub(crate) async fn remove_unused(&self, in_use: InUse) {
        let (kernels, own) = (self.obtainer.kernels.clone(), self.state_dir.clone());
        let removed = blocking(move || {
            let held = lock(&kernels)?;
            collect::remove_unused(&kernels, &held, &own, &in_use)
        });
        log_failure("unused kernels not removed", removed.await);
    }

    /// The kernel `name`, if it is here.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn find(&self, name: &str) -> Result<Option<Kernel>, KernelError> {
        Ok(self.find_local(name).await?.map(|local| Kernel::new(Some(name), local)))
    }

    /// Whether the kernel `name` was got by an earlier version of this program, which did not take
    /// the modules that programs in a guest ask for, and can be had with them.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn is_outdated(&self, name: &str) -> Result<bool, KernelError> {
        let Some(local) = self.find_local(name).await? else { return Ok(false) };
        let lacks = !local.loadable && has_optional_modules(&local.manifest.features);
        if !lacks {
            return Ok(false);
        }
        let known = self.catalogs.load().await?.entries;
        Ok(matches!(known.get(name), Some(CatalogKernel::Recipe(_))))
    }

    async fn find_local(&self, name: &str) -> Result<Option<Local>, KernelError> {
        let (kernels, wanted) = (self.obtainer.kernels.clone(), name.to_owned());
        let found = blocking(move || load(&kernels, &wanted)).await;
        found.map_err(|source| lost(name, source))?
    }

    /// The kernel that a VM was made with, by the directory that it remembers.
    ///
    /// # Errors
    /// When it is gone or cannot be read.
    pub async fn reopen(&self, directory: &Path) -> Result<Kernel, KernelError> {
        let path = directory.to_owned();
        let found = blocking(move || load_directory(&path, false)).await;
        let found = found.map_err(|source| lost("", source))??;
        found
            .map(|local| Kernel::new(None, local))
            .ok_or_else(|| KernelError::Gone { path: directory.to_owned() })
    }

    /// The kernel `name`; got first if it is not here, or anew with `force`. Who asks while it is
    /// on its way waits for the same work. When nobody waits any more, the work ends.
    ///
    /// # Errors
    /// When there is no such kernel, or it cannot be had.
    pub async fn ensure(
        &self,
        name: &str,
        force: bool,
        progress: &Progress,
    ) -> Result<Kernel, KernelError> {
        if !force && let Some(kernel) = self.find(name).await? {
            return Ok(kernel);
        }
        let mut known = self.catalogs.load().await?;
        for notice in known.notices {
            progress.notice(notice);
        }
        let Some(kernel) = known.entries.remove(name) else {
            return Err(self.unknown(name).await?);
        };
        let obtainer = self.obtainer.clone();
        let work = |progress| async move {
            obtain_kernel(obtainer, kernel, progress).await.map_err(Arc::new)
        };
        let outcome = self.flights.join(name, progress, work).await;
        outcome.map_err(|source| lost(name, source))?.map_err(KernelError::Shared)?;
        match self.find(name).await? {
            Some(kernel) => Ok(kernel),
            None => Err(self.unknown(name).await?),
        }
    }

    /// Makes a kernel of what the user has.
    ///
    /// # Errors
    /// When the name is taken, or the file is no kernel.
    pub(crate) async fn import(
        &self,
        import: Import,
        progress: &Progress,
    ) -> Result<(), KernelError> {
        if !is_plain_name(&import.name) {
            return Err(KernelError::Name(import.name));
        }
        if !import.force && self.find(&import.name).await?.is_some() {
            return Err(KernelError::Exists(import.name));
        }
        import_kernel(self.obtainer.clone(), import, progress.clone()).await
    }

    /// Takes the kernel `name` away. That no VM uses it is for the caller to know.
    ///
    /// # Errors
    /// When it is not here, or cannot be removed.
    pub(crate) async fn delete(&self, name: &str) -> Result<(), KernelError> {
        let (kernels, gone) = (self.obtainer.kernels.clone(), name.to_owned());
        let removed = blocking(move || {
            let held = lock(&kernels)?;
            index::remove(&kernels, &held, &gone)
        });
        removed.await.map_err(|source| lost(name, source))?
    }

    async fn unknown(&self, name: &str) -> Result<KernelError, KernelError> {
        let listed = self.list().await?.kernels;
        let known: Vec<String> = listed.into_iter().map(|view| view.name).collect();
        let near = near_name(name, &known).cloned();
        Ok(KernelError::Unknown { name: name.to_owned(), near, known })
    }
}

fn lost(name: &str, source: Lost) -> KernelError {
    KernelError::Lost { name: name.to_owned(), source }
}

fn log_failure(what: &str, outcome: Result<std::io::Result<()>, Lost>) {
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "{what}"),
        Err(error) => tracing::warn!(%error, "{what}"),
    }
}

#[cfg(test)]
mod tests;
