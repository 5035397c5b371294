//! Making an image from its recipe: packages → tar → ext4 → index.
//!
//! Dropped half-way, it kills the programs it started and leaves nothing in the index.

use std::ffi::OsString;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use banger_proto::ByteSize;

use super::catalog::{CatalogImage, Recipe, find_recipe};
use super::index::Index;
use super::manifest::Manifest;
use super::oci::make_image;
use super::{ImageError, lost};
use crate::artifact::mmdebstrap::{make_tar, tar_in};
use crate::artifact::{WorkDirs, cancellable};
use crate::disk::check_space;
use crate::exec::HostEnv;
use crate::fetcher::Fetcher;
use crate::progress::Progress;
use banger_rootfs::layers::Layer;

/// Room a build takes at its peak: the unpacked system with its packages, the tar, the image.
const ROOM: ByteSize = ByteSize::from_mib(1536);

/// What images are made with.
#[derive(Debug, Clone)]
pub(super) struct Builder {
    /// Where images go.
    pub(super) index: Index,
    /// Where work is done.
    pub(super) work: WorkDirs,
    /// The environment of host programs.
    pub(super) env: HostEnv,
    /// What comes over the network.
    pub(super) fetcher: Fetcher,
}

/// Makes `image` from the recipe of this name, of the release `suite`, and takes it into the index.
pub(super) async fn build_image(
    builder: Builder,
    image: CatalogImage,
    recipe_name: String,
    suite: String,
    progress: Progress,
) -> Result<Manifest, ImageError> {
    let recipe =
        find_recipe(&recipe_name).ok_or_else(|| ImageError::NoRecipe(recipe_name.clone()))?;
    builder.work.remove_leftovers().await;
    let work = builder.work.create()?;
    check_space(work.path(), ROOM)?
        .map_err(|source| ImageError::Space { name: image.name.to_string(), source })?;

    let tar = tar_in(work.path());
    let customize = work.path().join("customize.sh");
    fs_err::write(&customize, recipe.customize)?;
    fs_err::set_permissions(&customize, Permissions::from_mode(0o755))?;
    let arguments = plan_arguments(&image.arch, &suite, &recipe, &customize);
    make_tar(&builder.env, work.path(), arguments, &tar, &progress)
        .await
        .map_err(|source| ImageError::Packaging { name: image.name.to_string(), source })?;

    let name = image.name.clone();
    let about = image.describe(format!("recipe {recipe_name}"));
    let work = cancellable(move |cancelled| {
        // The directory goes when the work ends, not when somebody stops waiting for it.
        let work = work;
        make_image(
            &builder.index,
            work.path(),
            &[Layer::of_file(tar)],
            about,
            &cancelled,
            &progress,
        )
    });
    let manifest = work.await.map_err(|source| lost(name.as_str(), source))??;
    tracing::info!(image = %name, digest = %manifest.digest, "image made");
    Ok(manifest)
}

/// What mmdebstrap is told about an image.
fn plan_arguments(arch: &str, suite: &str, recipe: &Recipe, customize: &Path) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec![
        "--variant=minbase".into(),
        format!("--architectures={arch}").into(),
        format!("--include={}", recipe.packages.join(",")).into(),
        // Nothing of a build that dies is used, so no package has to survive a power cut.
        "--dpkgopt=force-unsafe-io".into(),
    ];
    args.extend(recipe.dpkg_options.iter().map(|option| format!("--dpkgopt={option}").into()));
    let mut hook = OsString::from("--customize-hook=");
    hook.push(customize);
    args.push(hook);
    args.push(suite.into());
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_the_packaging_tool() {
        let recipe = Recipe {
            packages: vec!["git", "make"],
            dpkg_options: vec!["path-exclude=/usr/share/man/*".into()],
            customize: "",
        };
        assert_eq!(
            plan_arguments("amd64", "bookworm", &recipe, Path::new("/work dir/customize.sh")),
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
