//! A kernel in the making: what it will consist of, and writing that as its directory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use banger_rootfs::modules::{
    Module, ModuleSource, ModulesError, collect_available, collect_modules, write_modules_cpio,
};
use banger_rootfs::modules_image::{ModulesImageError, write_modules_image};

use super::KernelError;
use super::features::{Features, wanted_modules};
use super::index::{LOADABLE, MANIFEST, MODULES, VMLINUX};
use super::manifest::Manifest;

/// What a kernel is going to consist of.
#[derive(Debug)]
pub(super) struct Parts {
    /// The ELF kernel.
    pub(super) vmlinux: Vec<u8>,
    /// The part of the initramfs with its modules; absent when it has none.
    pub(super) modules: Option<Vec<u8>>,
    /// The file system with the modules that programs in a guest may ask for, to be moved; absent
    /// when there are none.
    pub(super) loadable: Option<PathBuf>,
    /// What is written about it.
    pub(super) manifest: Manifest,
}

/// The modules of a kernel.
#[derive(Debug, Default)]
pub(super) struct ModulesPart {
    /// Those it boots with, as a part of an initramfs; absent when there are none.
    pub(super) cpio: Option<Vec<u8>>,
    /// Names of the modules in it.
    pub(super) names: Vec<String>,
    /// The file system with those that programs in a guest may ask for; absent when there are none.
    pub(super) loadable: Option<PathBuf>,
    /// How many these are.
    pub(super) loadable_count: Option<u32>,
}

/// Takes from `source` the modules of the kernel `version` with `features`: those that it needs to
/// boot, and in a new file in the directory `work` those that programs in a guest may ask for.
///
/// # Errors
/// When one is missing, unreadable or no module, or the file cannot be written.
pub(super) fn take_modules(
    source: &mut impl ModuleSource,
    version: &str,
    features: &Features,
    work: &Path,
) -> Result<ModulesPart, ModulesImageError> {
    let part = take_boot_modules(source, features)?;
    let path = work.join(LOADABLE);
    let image = fs_err::File::options().read(true).write(true).create_new(true).open(&path)?;
    let count = write_modules_image(source, version, work, image.file())?;
    let loadable_count = count.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    Ok(ModulesPart { loadable: count.map(|_| path), loadable_count, ..part })
}

fn take_boot_modules(
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
    let names = names.into_iter().collect();
    Ok(ModulesPart { cpio: Some(cpio), names, ..ModulesPart::default() })
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
    if let Some(loadable) = &parts.loadable {
        fs_err::rename(loadable, directory.join(LOADABLE))?;
    }
    let path = directory.join(MANIFEST);
    fs_err::write(&path, parts.manifest.render(&path)?)?;
    Ok(())
}
