//! A kernel in the making: what it will consist of, and writing that as its directory.

use std::collections::BTreeSet;
use std::path::Path;

use banger_rootfs::modules::{
    Module, ModuleSource, ModulesError, collect_available, collect_modules, write_modules_cpio,
};

use super::KernelError;
use super::features::{Features, wanted_modules};
use super::index::{MANIFEST, MODULES, VMLINUX};
use super::manifest::Manifest;

/// What a kernel is going to consist of.
#[derive(Debug)]
pub(super) struct Parts {
    /// The ELF kernel.
    pub(super) vmlinux: Vec<u8>,
    /// The part of the initramfs with its modules; absent when it has none.
    pub(super) modules: Option<Vec<u8>>,
    /// What is written about it.
    pub(super) manifest: Manifest,
}

/// The part of an initramfs with the modules of a kernel.
#[derive(Debug, Default)]
pub(super) struct ModulesPart {
    /// The archive; absent when there are no modules.
    pub(super) cpio: Option<Vec<u8>>,
    /// Names of the modules in it.
    pub(super) names: Vec<String>,
}

/// Takes from `source` the modules that a kernel with `features` needs to boot.
///
/// # Errors
/// When one is missing, unreadable or no module.
pub(super) fn take_modules(
    source: &mut impl ModuleSource,
    features: &Features,
) -> Result<ModulesPart, ModulesError> {
    let wanted = wanted_modules(features);
    let modules = if features.is_empty() {
        collect_available(source, &wanted)?
    } else {
        collect_modules(source, &wanted)?
    };
    if modules.is_empty() {
        return Ok(ModulesPart::default());
    }
    let mut cpio = Vec::new();
    // Writing to memory does not fail; a module of more than 4 GiB was refused before.
    write_modules_cpio(&modules, &mut cpio)
        .map_err(|source| ModulesError::Read { name: "modules".to_owned(), source })?;
    let names: BTreeSet<String> = modules.into_iter().map(|Module { name, .. }| name).collect();
    Ok(ModulesPart { cpio: Some(cpio), names: names.into_iter().collect() })
}

/// Writes `parts` as the new directory `directory`.
///
/// # Errors
/// When the file system refuses.
pub(super) fn write_parts(parts: &Parts, directory: &Path) -> Result<(), KernelError> {
    fs_err::create_dir(directory)?;
    fs_err::write(directory.join(VMLINUX), &parts.vmlinux)?;
    if let Some(modules) = &parts.modules {
        fs_err::write(directory.join(MODULES), modules)?;
    }
    let path = directory.join(MANIFEST);
    fs_err::write(&path, parts.manifest.render(&path)?)?;
    Ok(())
}
