//! Taking in a root file system that the user has: tar → ext4 → index.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use banger_proto::ByteSize;
use banger_proto::api::RunConfig;
use banger_rootfs::digest::render_hex;
use banger_rootfs::layers::{self, Built, Layer, write_image};
use banger_rootfs::tree::Limits;

use super::build::Builder;
use super::catalog::is_name;
use super::index::{Manifest, file_name, load, publish, remove};
use super::{ImageError, blocking, lost};
use crate::disk::check_space;
use crate::progress::Progress;

/// Makes the image `name` of the tar file `tar`, which is only read.
pub(super) async fn import_image(
    builder: Builder,
    name: String,
    tar: PathBuf,
    force: bool,
    progress: Progress,
) -> Result<Manifest, ImageError> {
    if !is_name(&name) {
        return Err(ImageError::Name(name));
    }
    let length = fs_err::metadata(&tar)?.len();
    let work = builder.work.create()?;
    check_space(work.path(), ByteSize::from_bytes(length))?
        .map_err(|source| ImageError::Space { name: name.clone(), source })?;
    progress.update("writing the image", 0, None);
    let made = work.path().join("image.ext4");
    let making = name.clone();
    let work = move || {
        // Looked at where it is replaced, so that two imports do not both find it free.
        if !force && load(&builder.images, &making)?.is_some() {
            return Err(ImageError::Exists(making));
        }
        let built = write(&tar, &made)
            .map_err(|source| ImageError::Write { name: making.clone(), source })?;
        let manifest = describe(making, &tar, &built);
        publish(&builder.images, &made, &manifest)?;
        Ok(manifest)
    };
    let manifest = blocking(work).await.map_err(|source| lost(&name, source))??;
    tracing::info!(image = %name, digest = %manifest.digest, "image imported");
    Ok(manifest)
}

/// Takes an image out of the index, and its file with it.
pub(super) async fn delete_image(builder: Builder, name: String) -> Result<(), ImageError> {
    let (images, gone) = (builder.images, name.clone());
    blocking(move || remove(&images, &gone)).await.map_err(|source| lost(&name, source))?
}

fn write(tar: &Path, to: &Path) -> Result<Built, layers::ImageError> {
    let file = File::options().read(true).write(true).create_new(true).open(to)?;
    write_image(&[Layer::of_file(tar)], &file, Limits::default(), &|_| ControlFlow::Continue(()))
}

fn describe(name: String, tar: &Path, built: &Built) -> Manifest {
    let digest = render_hex(&built.digest);
    let from = tar.file_name().unwrap_or(tar.as_os_str()).to_string_lossy();
    Manifest {
        description: format!("imported from {from}"),
        source: from.into_owned(),
        distro: "unknown".into(),
        arch: "amd64".into(),
        file: file_name(&name, &digest),
        name,
        digest,
        size: ByteSize::from_bytes(built.size),
        created_at: jiff::Timestamp::now().to_string(),
        kernel_ref: None,
        run: RunConfig::default(),
    }
}
