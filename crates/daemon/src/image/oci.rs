//! From layers to an image that is here: what every way of getting one ends with, be the layers
//! from a registry, an archive or the distribution's packages.

use std::path::Path;

use banger_proto::api::RunConfig;
use banger_proto::{ByteSize, ImageName};
use banger_rootfs::digest::render_hex;
use banger_rootfs::tree::Limits;

use super::ImageError;
use super::index::Index;
use super::manifest::{Location, Manifest, file_name};
use crate::artifact::Cancelled;
use crate::disk::check_space;
use crate::progress::Progress;
use banger_rootfs::layers::{Layer, Phase, Step, write_image};

/// What is said about a new image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewImage {
    /// Its name.
    pub(crate) name: ImageName,
    /// One line about it.
    pub(crate) description: String,
    /// What it is made of.
    pub(crate) source: String,
    /// Distribution.
    pub(crate) distro: String,
    /// Architecture as the distribution calls it.
    pub(crate) arch: String,
    /// Kernel it wants; absent for the default one.
    pub(crate) kernel_ref: Option<String>,
    /// What it says about running it.
    pub(crate) run: RunConfig,
    /// Whether it replaces one of its name.
    pub(crate) replace: bool,
}

impl NewImage {
    /// The manifest of this image with the contents `digest` of `size` bytes.
    pub(super) fn describe(self, digest: String, size: u64) -> Manifest {
        Manifest {
            location: Location::Managed { file: file_name(&self.name, &digest) },
            name: self.name.into(),
            description: self.description,
            distro: self.distro,
            arch: self.arch,
            digest,
            size: ByteSize::from_bytes(size),
            created_at: jiff::Timestamp::now().to_string(),
            kernel_ref: self.kernel_ref,
            source: self.source,
            run: self.run,
        }
    }
}

/// Makes an image of `layers` (verified, the lowest first) in the directory `work`, which must be
/// on the file system of the index, and takes it into the index. Blocking; ends early when nobody
/// waits any more, and then the index is as it was.
///
/// # Errors
/// When a layer cannot be used, there is no room, the name is taken, or nobody waits any more.
pub(crate) fn make_image(
    index: &Index,
    work: &Path,
    layers: &[Layer],
    about: NewImage,
    cancelled: &Cancelled,
    progress: &Progress,
) -> Result<Manifest, ImageError> {
    let name = about.name.clone();
    let room = layers.iter().map(length).sum::<std::io::Result<u64>>()?;
    check_space(work, ByteSize::from_bytes(room))?
        .map_err(|source| ImageError::Space { name: name.to_string(), source })?;
    let made = work.join("image.ext4");
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create_new(true);
    let file = fs_err::OpenOptions::from_options(options).open(&made)?;
    let watch = |step: Step| {
        let label = match step.phase {
            Phase::Indexing => "reading the layers",
            Phase::Writing => "writing the image",
        };
        progress.update(label, step.done, Some(step.total));
        cancelled.flow()
    };
    let built = write_image(layers, file.file(), Limits::default(), &watch);
    // Asked first: work that was given up failed for no other reason.
    give_up(cancelled, &name)?;
    let built = built.map_err(|source| ImageError::Write { name: name.to_string(), source })?;
    let replace = about.replace;
    let manifest = about.describe(render_hex(&built.digest), built.size);
    index.publish(Some(&made), manifest, replace)
}

/// Ends work that nobody waits for.
///
/// # Errors
/// When it is so.
pub(super) fn give_up(cancelled: &Cancelled, name: &ImageName) -> Result<(), ImageError> {
    match cancelled.flow() {
        std::ops::ControlFlow::Continue(()) => Ok(()),
        std::ops::ControlFlow::Break(()) => Err(ImageError::Cancelled(name.to_string())),
    }
}

/// Bytes of a layer as it lies there.
fn length(layer: &Layer) -> std::io::Result<u64> {
    match &layer.range {
        Some(range) => Ok(range.end - range.start),
        None => Ok(fs_err::metadata(&layer.path)?.len()),
    }
}
