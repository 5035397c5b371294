//! Getting a kernel from a distribution's package: package → kernel, modules, manifest → index.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use banger_proto::ByteSize;
use banger_rootfs::kernel_package::KernelPackage;
use banger_rootfs::modules::{WANTED, collect_modules, write_modules_cpio};
use banger_rootfs::vmlinux::extract_vmlinux;

use super::KernelError;
use super::catalog::CatalogKernel;
use super::features::{find_lacking, parse_config};
use super::index::{MANIFEST, MODULES, Manifest, VMLINUX, publish};
use crate::artifact::WorkDirs;
use crate::artifact::mmdebstrap::{make_tar, tar_in};
use crate::artifact::{Lost, blocking};
use crate::disk::check_space;
use crate::exec::HostEnv;
use crate::progress::Progress;

/// Room this takes at its peak: the unpacked package with what it depends on, the tar, the kernel.
const ROOM: ByteSize = ByteSize::from_mib(768);

/// What is worked with.
#[derive(Debug, Clone)]
pub(super) struct Obtainer {
    /// Where kernels go.
    pub(super) kernels: PathBuf,
    /// Where work is done.
    pub(super) work: WorkDirs,
    /// The environment of host programs.
    pub(super) env: HostEnv,
}

/// Gets `kernel` and takes it into the index.
pub(super) async fn obtain_kernel(
    obtainer: Obtainer,
    kernel: CatalogKernel,
    progress: Progress,
) -> Result<(), KernelError> {
    obtainer.work.remove_leftovers().await;
    let work = obtainer.work.create()?;
    check_space(work.path(), ROOM)?
        .map_err(|source| KernelError::Space { name: kernel.name.clone(), source })?;
    let tar = tar_in(work.path());
    make_tar(&obtainer.env, work.path(), plan_arguments(&kernel), &tar, &progress)
        .await
        .map_err(|source| KernelError::Packaging { name: kernel.name.clone(), source })?;

    progress.update("unpacking the kernel", 0, None);
    let made = work.path().join("kernel");
    let (name, directory) = (kernel.name.clone(), made.clone());
    let outcome = blocking(move || write(&kernel, &tar, &directory)).await;
    lost(&name, outcome)??;
    let (kernels, published) = (obtainer.kernels, name.clone());
    // What may be left in `made` afterwards is the kernel that was there before.
    lost(&name, blocking(move || publish(&kernels, &published, &made)).await)??;
    tracing::info!(kernel = %name, "kernel obtained");
    Ok(())
}

fn lost<T>(name: &str, outcome: Result<T, Lost>) -> Result<T, KernelError> {
    outcome.map_err(|source| KernelError::Lost { name: name.to_owned(), source })
}

/// What mmdebstrap is told about a kernel: unpack the package, install nothing.
fn plan_arguments(kernel: &CatalogKernel) -> Vec<OsString> {
    vec![
        "--variant=extract".into(),
        format!("--architectures={}", kernel.arch).into(),
        format!("--include={}", kernel.package).into(),
        kernel.suite.clone().into(),
    ]
}

/// Writes the kernel's directory from the package in `tar`.
fn write(kernel: &CatalogKernel, tar: &Path, directory: &Path) -> Result<(), KernelError> {
    let name = || kernel.name.clone();
    let broken = |source| KernelError::Package { name: name(), source };
    let mut package = KernelPackage::open(tar).map_err(broken)?;
    let features = parse_config(&package.config().map_err(broken)?);
    let lacking = find_lacking(&features, true);
    if !lacking.is_empty() {
        return Err(KernelError::Unfit { name: name(), lacking });
    }
    let vmlinux = extract_vmlinux(&package.kernel().map_err(broken)?)
        .map_err(|source| KernelError::Vmlinux { name: name(), source })?;
    let modules = collect_modules(&mut package, &WANTED)
        .map_err(|source| KernelError::Modules { name: name(), source })?;

    fs_err::create_dir(directory)?;
    fs_err::write(directory.join(VMLINUX), vmlinux)?;
    if !modules.is_empty() {
        let file = fs_err::File::create(directory.join(MODULES))?;
        write_modules_cpio(&modules, std::io::BufWriter::new(file))?;
    }
    let manifest = Manifest {
        description: kernel.description.clone(),
        distro: kernel.distro.clone(),
        arch: kernel.arch.clone(),
        version: package.version().to_owned(),
        features,
    };
    let path = directory.join(MANIFEST);
    let text = serde_json::to_vec_pretty(&manifest)
        .map_err(|source| KernelError::Manifest { path: path.clone(), source })?;
    fs_err::write(path, text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::catalog::load_catalog;

    #[test]
    fn arguments_of_the_packaging_tool() {
        let kernels = load_catalog().unwrap();
        assert_eq!(
            plan_arguments(&kernels[0]),
            [
                "--variant=extract",
                "--architectures=amd64",
                "--include=linux-image-cloud-amd64",
                "bookworm"
            ]
        );
    }
}
