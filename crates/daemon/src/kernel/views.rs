//! How kernels are shown.

use std::collections::BTreeMap;

use banger_proto::ByteSize;
use banger_proto::api::{KernelDetails, KernelList, KernelView};

use super::catalog::CatalogKernel;
use super::features::find_lacking;
use super::index::{Local, load_all};
use super::{KernelError, Kernels, lost};
use crate::artifact::blocking;
use crate::catalog::Entry;
use crate::hypervisor::GuestMachine;

impl Kernels {
    /// All kernels by name, those that can be had included.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn list(&self) -> Result<KernelList, KernelError> {
        let kernels = self.obtainer.kernels.clone();
        let here = blocking(move || load_all(&kernels)).await;
        let here = here.map_err(|source| lost("", source))??;
        let known = self.catalogs.load().await?;
        let obtainable = known.entries.iter();
        let mut views: BTreeMap<String, KernelView> =
            obtainable.map(|(name, kernel)| (name.clone(), view_of_catalog(kernel))).collect();
        views.extend(here.iter().map(|(name, local)| (name.clone(), view_of_local(name, local))));
        Ok(KernelList { kernels: views.into_values().collect(), notices: known.notices })
    }

    /// The kernel `name` as it is listed, if it is here.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn view(&self, name: &str) -> Result<Option<KernelView>, KernelError> {
        Ok(self.find_local(name).await?.map(|local| view_of_local(name, &local)))
    }

    /// Everything about the kernel `name`, as a host with `machine` sees it; `vms` use it.
    ///
    /// # Errors
    /// When nobody knows it, or the index cannot be read.
    pub async fn describe(
        &self,
        name: &str,
        machine: GuestMachine,
        vms: Vec<String>,
    ) -> Result<KernelDetails, KernelError> {
        let obtainable = self.catalogs.load().await?.entries.remove(name);
        let source = obtainable.as_ref().map(CatalogKernel::source);
        if let Some(local) = self.find_local(name).await? {
            return Ok(details_of_local(name, local, machine, source, vms));
        }
        match obtainable {
            Some(kernel) => Ok(KernelDetails {
                kernel: view_of_catalog(&kernel),
                source,
                vms,
                ..KernelDetails::default()
            }),
            None => Err(self.unknown(name).await?),
        }
    }
}

fn view_of_catalog(kernel: &CatalogKernel) -> KernelView {
    KernelView {
        name: kernel.name().to_owned(),
        description: kernel.description().to_owned(),
        version: None,
        size: ByteSize::default(),
        local: false,
    }
}

fn view_of_local(name: &str, local: &Local) -> KernelView {
    KernelView {
        name: name.to_owned(),
        description: local.manifest.description.clone(),
        version: Some(local.manifest.version.clone()),
        size: local.size,
        local: true,
    }
}

fn details_of_local(
    name: &str,
    local: Local,
    machine: GuestMachine,
    source: Option<String>,
    vms: Vec<String>,
) -> KernelDetails {
    let modules = local.manifest.modules(local.modules);
    let lacking = find_lacking(&local.manifest.features, modules, machine);
    let kernel = view_of_local(name, &local);
    let known = |text: String| Some(text).filter(|text| !text.is_empty());
    KernelDetails {
        kernel,
        distro: known(local.manifest.distro),
        arch: known(local.manifest.arch),
        source,
        directory: Some(local.directory.display().to_string()),
        has_modules: local.modules,
        modules: local.manifest.modules,
        has_loadable_modules: local.loadable,
        loadable_modules: local.manifest.loadable_modules.filter(|_| local.loadable),
        features: local.manifest.features,
        lacking,
        vms,
    }
}
