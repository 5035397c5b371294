//! Taking in an archive that the user has: as a file, or as the bytes of a request.

use std::io;
use std::path::{Path, PathBuf};

use banger_proto::ByteSize;
use banger_proto::api::ImportImage;
use banger_proto::image_name::is_plain_name;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::io::AsyncWriteExt;

use super::archive::{Contents, read_archive};
use super::build::Builder;
use super::manifest::Manifest;
use super::oci::{NewImage, make_image};
use super::{ImageError, lost};
use crate::artifact::{WorkDir, cancellable};
use crate::progress::Progress;

/// What an archive is called that came as the bytes of a request.
const STREAMED: &str = "standard input";
/// Bytes of the largest archive that is received: as much as an image may hold.
const MAX_RECEIVED: u64 = 64 << 30;
/// Bytes received between two words about it.
const REPORTED: u64 = 4 << 20;

/// Makes an image of the archive or directory at `asked.path`, which is only read.
///
/// # Errors
/// When the request or the archive is wrong, or the name is taken.
pub(super) async fn import_image(
    builder: Builder,
    asked: ImportImage,
    progress: Progress,
) -> Result<Manifest, ImageError> {
    let path = PathBuf::from(asked.path.as_deref().unwrap_or_default());
    if !path.is_absolute() {
        return Err(ImageError::Relative(path));
    }
    check(&builder, &asked)?;
    let work = builder.work.create()?;
    let shown = path.display().to_string();
    make(builder, asked, Archive { path, shown }, work, progress).await
}

/// Makes an image of the archive that `body` is.
///
/// # Errors
/// As for [`import_image`], and when the body ends early.
pub(super) async fn receive_image(
    builder: Builder,
    asked: ImportImage,
    body: &mut (impl Stream<Item = io::Result<Bytes>> + Unpin),
    progress: Progress,
) -> Result<Manifest, ImageError> {
    check(&builder, &asked)?;
    let work = builder.work.create()?;
    let path = work.path().join("received");
    receive(body, &path, &progress).await?;
    make(builder, asked, Archive { path, shown: STREAMED.to_owned() }, work, progress).await
}

fn check(builder: &Builder, asked: &ImportImage) -> Result<(), ImageError> {
    check_kernel(asked.kernel.as_deref())?;
    // Looked at again where it is published; here it spares the user the wait.
    builder.index.check_free(&asked.name, asked.force)
}

/// Whether a kernel can have this name; whether there is one is seen when a VM needs it.
///
/// # Errors
/// When none can.
pub(super) fn check_kernel(kernel: Option<&str>) -> Result<(), ImageError> {
    match kernel.filter(|name| !is_plain_name(name)) {
        Some(name) => Err(ImageError::Kernel(name.to_owned())),
        None => Ok(()),
    }
}

async fn receive(
    body: &mut (impl Stream<Item = io::Result<Bytes>> + Unpin),
    to: &Path,
    progress: &Progress,
) -> Result<(), ImageError> {
    let mut file = fs_err::tokio::File::create(to).await?;
    let (mut received, mut reported) = (0_u64, 0_u64);
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(ImageError::Receive)?;
        received += chunk.len() as u64;
        if received > MAX_RECEIVED {
            return Err(ImageError::TooLong(ByteSize::from_bytes(MAX_RECEIVED)));
        }
        file.write_all(&chunk).await?;
        if received - reported >= REPORTED {
            progress.update("receiving the archive", received, None);
            reported = received;
        }
    }
    file.flush().await?;
    Ok(())
}

/// An archive and what it is called.
struct Archive {
    path: PathBuf,
    shown: String,
}

async fn make(
    builder: Builder,
    asked: ImportImage,
    archive: Archive,
    work: WorkDir,
    progress: Progress,
) -> Result<Manifest, ImageError> {
    let name = asked.name.clone();
    progress.update("looking at the archive", 0, None);
    let work = cancellable(move |cancelled| {
        // The directory goes when the work ends, not when somebody stops waiting for it.
        let work = work;
        let contents = read_archive(&archive.path, &archive.shown, work.path(), &cancelled)
            .map_err(|source| ImageError::Archive { name: asked.name.to_string(), source })?;
        let about = describe(asked, &archive.shown, &contents);
        make_image(&builder.index, work.path(), &contents.layers, about, &cancelled, &progress)
    });
    let manifest = work.await.map_err(|source| lost(name.as_str(), source))??;
    tracing::info!(image = %name, digest = %manifest.digest, "image imported");
    Ok(manifest)
}

fn describe(asked: ImportImage, archive: &str, contents: &Contents) -> NewImage {
    let file = Path::new(archive).file_name().map_or(archive.into(), |name| name.to_string_lossy());
    let source = match &contents.saved_as {
        Some(saved_as) => format!("{saved_as} in {file}"),
        None => file.into_owned(),
    };
    NewImage {
        description: asked.description.unwrap_or_else(|| format!("imported from {source}")),
        source,
        name: asked.name,
        distro: "unknown".into(),
        arch: "amd64".into(),
        kernel_ref: asked.kernel,
        run: contents.run.clone(),
        replace: asked.force,
    }
}
