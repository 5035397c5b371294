//! Making an image from its recipe: packages → tar → ext4 → index.
//!
//! Dropped half-way, it kills the programs it started and leaves nothing in the index.

use std::ffi::OsString;
use std::fs::Permissions;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use banger_proto::ByteSize;
use banger_proto::api::RunConfig;
use banger_rootfs::digest::render_hex;
use banger_rootfs::layers::{self, Built, Layer, write_image};
use banger_rootfs::tree::Limits;

use super::catalog::{CatalogImage, Recipe, find_recipe};
use super::index::{Manifest, file_name, publish};
use super::mmdebstrap::{make_tar, tar_in};
use super::single_flight::Lost;
use super::work_dir::WorkDirs;
use super::{ImageError, blocking};
use crate::disk::check_space;
use crate::exec::HostEnv;
use crate::progress::Progress;

/// Room a build takes at its peak: the unpacked system with its packages, the tar, the image.
const ROOM: ByteSize = ByteSize::from_mib(1536);

/// What a build works with.
#[derive(Debug, Clone)]
pub(super) struct Builder {
    /// Where images go.
    pub(super) images: PathBuf,
    /// Where work is done.
    pub(super) work: WorkDirs,
    /// The environment of host programs.
    pub(super) env: HostEnv,
}

/// Makes `image` and takes it into the index.
pub(super) async fn build_image(
    builder: Builder,
    image: CatalogImage,
    progress: Progress,
) -> Result<Manifest, ImageError> {
    let recipe =
        find_recipe(&image.recipe).ok_or_else(|| ImageError::NoRecipe(image.recipe.clone()))?;
    builder.work.remove_leftovers().await;
    let work = builder.work.create()?;
    check_space(work.path(), ROOM)?
        .map_err(|source| ImageError::Space { name: image.name.clone(), source })?;

    let tar = tar_in(work.path());
    let customize = work.path().join("customize.sh");
    fs_err::write(&customize, recipe.customize)?;
    fs_err::set_permissions(&customize, Permissions::from_mode(0o755))?;
    make_tar(
        &builder.env,
        work.path(),
        plan_arguments(&image, &recipe, &customize),
        &tar,
        &progress,
    )
    .await
    .map_err(|source| ImageError::Packaging { name: image.name.clone(), source })?;

    progress.update("writing the image", 0, None);
    let made = work.path().join("image.ext4");
    let (from, to) = (tar.clone(), made.clone());
    let built = lost(&image, blocking(move || write(&from, &to)).await)?
        .map_err(|source| ImageError::Write { name: image.name.clone(), source })?;
    let manifest = manifest(&image, &built);
    let published = manifest.clone();
    // Not split over a point where this could be dropped: either all of it happens or nothing.
    lost(&image, blocking(move || publish(&builder.images, &made, &published)).await)??;
    tracing::info!(image = %image.name, digest = %manifest.digest, "image made");
    Ok(manifest)
}

fn lost<T>(image: &CatalogImage, outcome: Result<T, Lost>) -> Result<T, ImageError> {
    outcome.map_err(|source| ImageError::Lost { name: image.name.clone(), source })
}

/// What mmdebstrap is told about an image.
fn plan_arguments(image: &CatalogImage, recipe: &Recipe, customize: &Path) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec![
        "--variant=minbase".into(),
        format!("--architectures={}", image.arch).into(),
        format!("--include={}", recipe.packages.join(",")).into(),
        // Nothing of a build that dies is used, so no package has to survive a power cut.
        "--dpkgopt=force-unsafe-io".into(),
    ];
    args.extend(recipe.dpkg_options.iter().map(|option| format!("--dpkgopt={option}").into()));
    let mut hook = OsString::from("--customize-hook=");
    hook.push(customize);
    args.push(hook);
    args.push(image.suite.clone().into());
    args
}

fn write(tar: &Path, to: &Path) -> Result<Built, layers::ImageError> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create_new(true);
    let file = fs_err::OpenOptions::from_options(options).open(to)?;
    let built = write_image(&[Layer::of_file(tar)], file.file(), Limits::default(), &|_| {
        ControlFlow::Continue(())
    })?;
    // The tar is as large as the image and of no use any more.
    fs_err::remove_file(tar)?;
    Ok(built)
}

fn manifest(image: &CatalogImage, built: &Built) -> Manifest {
    let digest = render_hex(&built.digest);
    Manifest {
        name: image.name.clone(),
        description: image.description.clone(),
        distro: image.distro.clone(),
        arch: image.arch.clone(),
        file: file_name(&image.name, &digest),
        digest,
        size: ByteSize::from_bytes(built.size),
        created_at: jiff::Timestamp::now().to_string(),
        kernel_ref: image.kernel_ref.clone(),
        source: format!("recipe {}", image.recipe),
        run: RunConfig { env: image.env.clone(), ..RunConfig::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::catalog::load_catalog;

    #[test]
    fn arguments_of_the_packaging_tool() {
        let image = load_catalog().unwrap().remove(0);
        let recipe = Recipe {
            packages: vec!["git", "make"],
            dpkg_options: vec!["path-exclude=/usr/share/man/*".into()],
            customize: "",
        };
        assert_eq!(
            plan_arguments(&image, &recipe, Path::new("/work dir/customize.sh")),
            [
                "--variant=minbase",
                "--architectures=amd64",
                "--include=git,make",
                "--dpkgopt=force-unsafe-io",
                "--dpkgopt=path-exclude=/usr/share/man/*",
                "--customize-hook=/work dir/customize.sh",
                "bookworm"
            ]
        );
    }
}
