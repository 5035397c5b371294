//! Getting a kernel and taking it in, in a work directory that goes away whatever happens:
//!
//! | from | by |
//! |---|---|
//! | a distribution's package | [`obtain_kernel`]: mmdebstrap, then the package's tar |
//! | a bundle | [`take_bundle`]: strict unpacking of a local file |
//! | a file of the user's | [`import_kernel`] |
//!
//! Each ends with [`publish`], under the index's lock. Work of which nobody waits for the outcome ends
//! before that.

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use banger_proto::ByteSize;
use banger_rootfs::bundle::{BundleError, Member, unpack_bundle};
use banger_rootfs::kernel_package::KernelPackage;
use banger_rootfs::vmlinux::extract_vmlinux;
use tokio_util::sync::CancellationToken;

use super::KernelError;
use super::catalog::{Bundle, CatalogKernel, Recipe};
use super::error::ImportError;
use super::features::parse_config;
use super::import::{Form, Import, observe_form, take_deb, take_kernel};
use super::index::{LOADABLE, MANIFEST, MODULES, VMLINUX, load, lock, publish};
use super::manifest::Manifest;
use super::parts::{Parts, take_modules, write_parts};
use crate::artifact::mmdebstrap::{make_tar, tar_in};
use crate::artifact::{Lost, WorkDir, WorkDirs, blocking};
use crate::disk::check_space;
use crate::exec::HostEnv;
use crate::fetcher::Fetcher;
use crate::progress::Progress;

/// Room this takes at its peak: the unpacked package with what it depends on, the tar, the kernel.
const ROOM: ByteSize = ByteSize::from_mib(768);

/// What a kernel's bundle may hold. Distributions' kernels have 30 to 80 MB, the modules to boot with
/// some 10, and those to ask for 50 to 300.
pub(super) const MEMBERS: [Member; 4] = [
    Member { name: MANIFEST, limit: 64 << 10, needed: true },
    Member { name: VMLINUX, limit: 512 << 20, needed: true },
    Member { name: MODULES, limit: 256 << 20, needed: false },
    Member { name: LOADABLE, limit: 2 << 30, needed: false },
];

/// What is worked with.
#[derive(Debug, Clone)]
pub(super) struct Obtainer {
    /// Where kernels go.
    pub(super) kernels: PathBuf,
    /// Where work is done.
    pub(super) work: WorkDirs,
    /// The environment of host programs.
    pub(super) env: HostEnv,
    /// What comes over the network.
    pub(super) fetcher: Fetcher,
}

/// Gets `kernel` and takes it in.
pub(super) async fn obtain_kernel(
    obtainer: Obtainer,
    kernel: CatalogKernel,
    progress: Progress,
) -> Result<(), KernelError> {
    match kernel {
        CatalogKernel::Recipe(recipe) => obtain_package(obtainer, recipe, progress).await,
        CatalogKernel::Bundle(bundle) => {
            let work = obtainer.work.create()?;
            let file = download(&obtainer.fetcher, &bundle, &work, &progress).await?;
            take_bundle(obtainer, work, bundle.name, file, true, progress).await
        }
    }
}

/// Downloads a bundle into the directory `work`.
async fn download(
    fetcher: &Fetcher,
    bundle: &Bundle,
    work: &WorkDir,
    progress: &Progress,
) -> Result<PathBuf, KernelError> {
    check_room(work, &bundle.name, bundle.size)?;
    let file = work.path().join("bundle.tar.zst");
    let failed = |source| {
        let source = Box::new(source);
        KernelError::Fetch { name: bundle.name.clone(), source }
    };
    let Bundle { url, sha256, size, .. } = bundle;
    let fetched =
        fetcher.download(url, *sha256, size.bytes(), &file, progress, "fetching the kernel").await;
    fetched.map_err(failed)?;
    Ok(file)
}

async fn obtain_package(
    obtainer: Obtainer,
    recipe: Recipe,
    progress: Progress,
) -> Result<(), KernelError> {
    obtainer.work.remove_leftovers().await;
    let work = obtainer.work.create()?;
    check_room(&work, &recipe.name, ROOM)?;
    let tar = tar_in(work.path());
    make_tar(&obtainer.env, work.path(), plan_arguments(&recipe), &tar, &progress)
        .await
        .map_err(|source| KernelError::Packaging { name: recipe.name.clone(), source })?;
    progress.update("unpacking the kernel", 0, None);
    let name = recipe.name.clone();
    take_in(obtainer, work, name, true, move |work, _| {
        let made = work.join("kernel");
        write_parts(&take_recipe(&recipe, &tar, work)?, &made)?;
        Ok(made)
    })
    .await
}

/// Takes the bundle `file` in as `name`; it goes with `work` when it is in there.
pub(super) async fn take_bundle(
    obtainer: Obtainer,
    work: WorkDir,
    name: String,
    file: PathBuf,
    force: bool,
    progress: Progress,
) -> Result<(), KernelError> {
    progress.update("unpacking the kernel", 0, None);
    let taken = name.clone();
    take_in(obtainer, work, name, force, move |work, cancelled| {
        let made = work.join("kernel");
        let watch = &mut |_| match cancelled.is_cancelled() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        unpack_bundle(&file, &MEMBERS, &made, watch).map_err(|source| match source {
            BundleError::Stopped { .. } => KernelError::Cancelled { name: taken.clone() },
            source => KernelError::Bundle { name: taken.clone(), source },
        })?;
        let path = made.join(MANIFEST);
        // Read for its mistakes only; it stays as it is.
        Manifest::parse(&fs_err::read(&path)?, &path)?;
        Ok(made)
    })
    .await
}

/// Takes in what the user has.
pub(super) async fn import_kernel(
    obtainer: Obtainer,
    import: Import,
    progress: Progress,
) -> Result<(), KernelError> {
    let work = obtainer.work.create()?;
    let length = ByteSize::from_bytes(fs_err::metadata(&import.file)?.len());
    check_room(&work, &import.name, length)?;
    let form = observe_form(&import.file)?;
    let (name, force) = (import.name.clone(), import.force);
    if form == Form::Bundle {
        let alone = import.modules == Default::default()
            && import.config.is_none()
            && import.description.is_none();
        if !alone {
            return Err(KernelError::Import { path: import.file, source: ImportError::Whole });
        }
        return take_bundle(obtainer, work, name, import.file, force, progress).await;
    }
    progress.update("extracting the kernel", 0, None);
    take_in(obtainer, work, name, force, move |work, _| {
        let parts = match form {
            Form::Deb => take_deb(&import, &tar_in(work), work)?,
            Form::Kernel | Form::Bundle => take_kernel(&import, work)?,
        };
        let made = work.join("kernel");
        write_parts(&parts, &made)?;
        let path = made.join(MANIFEST);
        // What the user said about it is held to what everybody has to hold to.
        Manifest::parse(&fs_err::read(&path)?, &path)?;
        Ok(made)
    })
    .await
}

/// Does `make`, which makes a kernel's directory in the work directory, and publishes the outcome,
/// unless nobody waits any more.
async fn take_in(
    obtainer: Obtainer,
    work: WorkDir,
    name: String,
    force: bool,
    make: impl FnOnce(&Path, &CancellationToken) -> Result<PathBuf, KernelError> + Send + 'static,
) -> Result<(), KernelError> {
    let cancelled = CancellationToken::new();
    let _dropped_with_this = cancelled.clone().drop_guard();
    let (kernels, taken) = (obtainer.kernels, name.clone());
    let outcome = blocking(move || {
        // The work directory is in here, so that it outlives what is done in it.
        let made = make(work.path(), &cancelled)?;
        let held = lock(&kernels)?;
        if cancelled.is_cancelled() {
            return Err(KernelError::Cancelled { name: taken });
        }
        // Looked at under the lock, so that two of one name do not both find it free.
        if !force && load(&kernels, &taken)?.is_some() {
            return Err(KernelError::Exists(taken));
        }
        publish(&kernels, &held, &taken, &made)
    });
    let directory = lost(&name, outcome.await)??;
    tracing::info!(kernel = %name, path = %directory.display(), "kernel obtained");
    Ok(())
}

fn check_room(work: &WorkDir, name: &str, room: ByteSize) -> Result<(), KernelError> {
    check_space(work.path(), room)?
        .map_err(|source| KernelError::Space { name: name.to_owned(), source })
}

fn lost<T>(name: &str, outcome: Result<T, Lost>) -> Result<T, KernelError> {
    outcome.map_err(|source| KernelError::Lost { name: name.to_owned(), source })
}

/// What mmdebstrap is told about a kernel: unpack the package, install nothing.
fn plan_arguments(recipe: &Recipe) -> Vec<OsString> {
    vec![
        "--variant=extract".into(),
        format!("--architectures={}", recipe.arch).into(),
        format!("--include={}", recipe.package).into(),
        recipe.suite.clone().into(),
    ]
}

/// The parts of the kernel in the tar of unpacked packages, made in the directory `work`.
fn take_recipe(recipe: &Recipe, tar: &Path, work: &Path) -> Result<Parts, KernelError> {
    let name = || recipe.name.clone();
    let broken = |source| KernelError::Package { name: name(), source };
    let mut package = KernelPackage::open(tar).map_err(broken)?;
    let config = package.config().map_err(broken)?;
    let features = config.as_deref().and_then(parse_config).unwrap_or_default();
    let vmlinux = extract_vmlinux(&package.kernel().map_err(broken)?)
        .map_err(|source| KernelError::Vmlinux { name: name(), source })?;
    let version = package.version().to_owned();
    let modules = take_modules(&mut package, &version, &features, work)
        .map_err(|source| KernelError::Modules { name: name(), source })?;
    let manifest = Manifest {
        description: recipe.description.clone(),
        distro: recipe.distro.clone(),
        arch: recipe.arch.clone(),
        version,
        features,
        modules: modules.names,
        loadable_modules: modules.loadable_count,
    };
    Ok(Parts { vmlinux, modules: modules.cpio, loadable: modules.loadable, manifest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Entry;

    #[test]
    fn arguments_of_the_packaging_tool() {
        let (kernels, _) = CatalogKernel::load_own().unwrap();
        let Some(CatalogKernel::Recipe(recipe)) = kernels.first() else { panic!("{kernels:?}") };
        assert_eq!(
            plan_arguments(recipe),
            [
                "--variant=extract",
                "--architectures=amd64",
                "--include=linux-image-cloud-amd64",
                "bookworm"
            ]
        );
    }
}
