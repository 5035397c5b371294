//! Guest kernels: the local index, the catalog, getting what is missing, and the initramfs.
//!
//! A kernel is an ELF `vmlinux` and, where it needs them, the few modules without which a guest
//! does not find its disks. Where it lacks something a VM needs, it is refused before anything
//! boots, saying what.
//!
//! | part | responsible for |
//! |---|---|
//! | `catalog` | what can be had |
//! | `index` | what is here |
//! | `obtain` | getting one from a distribution's package |
//! | `features` | what a kernel must have |
//! | `initramfs` | agent and modules in one file |

mod catalog;
mod error;
mod features;
mod index;
mod initramfs;
mod obtain;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use banger_proto::api::KernelView;
use banger_proto::{ByteSize, Paths};

use crate::artifact::Flights;
use crate::artifact::WorkDirs;
use crate::artifact::near_name;
use crate::artifact::{Lost, WORK, blocking};
use crate::exec::HostEnv;
use crate::progress::Progress;
use catalog::{CatalogKernel, load_catalog};
pub use error::KernelError;
use features::find_lacking;
use index::{Local, MODULES, VMLINUX, load, load_all};
pub use initramfs::ensure_initramfs;
use obtain::{Obtainer, obtain_kernel};

/// A kernel that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Name.
    pub name: String,
    /// Version, as `uname -r` gives it.
    pub version: String,
    /// The ELF kernel.
    pub vmlinux: PathBuf,
    /// The part of the initramfs with its modules, when it has any.
    pub modules: Option<PathBuf>,
}

/// The kernels of one user.
#[derive(Debug, Clone)]
pub struct Kernels {
    obtainer: Obtainer,
    flights: Flights<Result<(), Arc<KernelError>>>,
}

impl Kernels {
    /// The kernels under `paths`, got with programs found in `env`.
    #[must_use]
    pub fn new(paths: &Paths, env: &HostEnv) -> Self {
        let kernels = paths.kernels_dir();
        let work = WorkDirs::new(kernels.join(WORK), env.clone());
        let obtainer = Obtainer { kernels, work, env: env.clone() };
        Self { obtainer, flights: Flights::new() }
    }

    /// Removes what was left by work that was killed with its daemon; for its start.
    pub async fn remove_leftovers(&self) {
        self.obtainer.work.remove_leftovers().await;
    }

    /// All kernels by name, those that can be had included.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn list(&self) -> Result<Vec<KernelView>, KernelError> {
        let kernels = self.obtainer.kernels.clone();
        let here = blocking(move || load_all(&kernels)).await;
        let here = here.map_err(|source| lost("", source))??;
        let mut views: BTreeMap<String, KernelView> = load_catalog()?
            .into_iter()
            .map(|kernel| (kernel.name.clone(), view_of_catalog(kernel)))
            .collect();
        views.extend(
            here.into_iter().map(|(name, local)| (name.clone(), view_of_local(name, local))),
        );
        Ok(views.into_values().collect())
    }

    /// The kernel `name`, if it is here.
    ///
    /// # Errors
    /// When the index cannot be read, or the kernel lacks what a VM needs.
    pub async fn find(&self, name: &str) -> Result<Option<Kernel>, KernelError> {
        let (kernels, wanted) = (self.obtainer.kernels.clone(), name.to_owned());
        let found = blocking(move || load(&kernels, &wanted)).await;
        let Some(local) = found.map_err(|source| lost(name, source))?? else { return Ok(None) };
        let lacking = find_lacking(&local.manifest.features, local.modules);
        if !lacking.is_empty() {
            return Err(KernelError::Unfit { name: name.to_owned(), lacking });
        }
        Ok(Some(Kernel {
            name: name.to_owned(),
            version: local.manifest.version,
            vmlinux: local.directory.join(VMLINUX),
            modules: local.modules.then(|| local.directory.join(MODULES)),
        }))
    }

    /// The kernel `name`; got first if it is not here, or anew with `force`. Who asks while it is
    /// on its way waits for the same work. When nobody waits any more, the work ends.
    ///
    /// # Errors
    /// When there is no such kernel, it cannot be had, or lacks what a VM needs.
    pub async fn ensure(
        &self,
        name: &str,
        force: bool,
        progress: &Progress,
    ) -> Result<Kernel, KernelError> {
        if !force && let Some(kernel) = self.find(name).await? {
            return Ok(kernel);
        }
        let Some(kernel) = load_catalog()?.into_iter().find(|kernel| kernel.name == name) else {
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

    async fn unknown(&self, name: &str) -> Result<KernelError, KernelError> {
        let known: Vec<String> = self.list().await?.into_iter().map(|view| view.name).collect();
        let near = near_name(name, &known).cloned();
        Ok(KernelError::Unknown { name: name.to_owned(), near, known })
    }
}

fn view_of_catalog(kernel: CatalogKernel) -> KernelView {
    KernelView {
        name: kernel.name,
        description: kernel.description,
        version: None,
        size: ByteSize::default(),
        local: false,
    }
}

fn view_of_local(name: String, local: Local) -> KernelView {
    KernelView {
        name,
        description: local.manifest.description,
        version: Some(local.manifest.version),
        size: local.size,
        local: true,
    }
}

fn lost(name: &str, source: Lost) -> KernelError {
    KernelError::Lost { name: name.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use banger_proto::{Code, Problem};

    use super::*;

    fn kernels(place: &tempfile::TempDir) -> (Kernels, PathBuf) {
        let home = place.path().display().to_string();
        let paths = Paths::from_env(|name| (name == "HOME").then(|| home.clone()), 1000).unwrap();
        let env = HostEnv::from_env(|name| (name == "PATH").then(|| "/nonexistent".into()));
        (Kernels::new(&paths, &env), paths.kernels_dir())
    }

    #[tokio::test]
    async fn a_kernel_that_lacks_something_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let (kernels, directory) = kernels(&place);
        let own = directory.join("own");
        fs_err::create_dir_all(&own).unwrap();
        fs_err::write(own.join("vmlinux"), "ELF").unwrap();
        let manifest = r#"{"version":"6.12","features":{"EXT4_FS":"y"}}"#;
        fs_err::write(own.join("manifest.json"), manifest).unwrap();
        let error = kernels.find("own").await.unwrap_err().to_string();
        assert!(error.starts_with("kernel `own` cannot run a VM: it lacks CONFIG_BLK"), "{error}");
        let listed = kernels.list().await.unwrap();
        assert!(listed.iter().any(|view| view.name == "own" && view.local));

        fs_err::write(own.join("manifest.json"), r#"{"version":"6.12"}"#).unwrap();
        let kernel = kernels.ensure("own", false, &Progress::none()).await.unwrap();
        assert_eq!((kernel.version.as_str(), kernel.modules), ("6.12", None));
    }

    #[tokio::test]
    async fn unknown_ones_are_refused_with_names() {
        let place = tempfile::tempdir().unwrap();
        let (kernels, _) = kernels(&place);
        let outcome = kernels.ensure("debian-cloud", true, &Progress::none()).await;
        let problem = Problem::from(outcome.unwrap_err());
        assert_eq!(problem.code, Code::NotFound);
        assert!(problem.hints.iter().any(|hint| hint.contains("debian-bookworm-cloud")));
    }
}
