//! The layers of an image and their way into one ext4 file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::{ControlFlow, Range};
use std::path::PathBuf;

use banger_rootfs::digest::sha256;
use banger_rootfs::stream::open_stream;
use banger_rootfs::tar_image::{self, Built, ImageError};
use banger_rootfs::tree::Limits;

#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) range: Option<Range<u64>>,
    pub(crate) digest: Option<[u8; 32]>,
    pub(crate) diff_id: Option<[u8; 32]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Indexing,
    Writing,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) phase: Phase,
    pub(crate) done: u64,
    pub(crate) total: u64,
}

/// Stands in for the writer of several layers.
pub(crate) fn write_image(
    layers: &[Layer],
    image: &File,
    limits: Limits,
    watch: &dyn Fn(Step) -> ControlFlow<()>,
) -> Result<Built, ImageError> {
    let cancelled = || ImageError::File(std::io::Error::other("given up"));
    let go = |step| if watch(step).is_break() { Err(cancelled()) } else { Ok(()) };
    go(Step { phase: Phase::Indexing, done: 0, total: 1 })?;
    let mut plain = tempfile::NamedTempFile::new()?;
    for layer in layers {
        let mut file = File::open(&layer.path)?;
        let range = layer.range.clone().unwrap_or(0..file.metadata()?.len());
        file.seek(SeekFrom::Start(range.start))?;
        let reader = std::io::BufReader::new(file.take(range.end - range.start));
        plain.as_file().set_len(0)?;
        plain.rewind()?;
        std::io::copy(&mut open_stream(reader)?, &mut plain)?;
        plain.rewind()?;
        let found = sha256(&mut plain)?;
        if layer.diff_id.is_some_and(|id| id != found) {
            let text = format!("layer `{}` has another digest", layer.name);
            return Err(std::io::Error::other(text).into());
        }
    }
    go(Step { phase: Phase::Writing, done: 0, total: 1 })?;
    tar_image::write_image(plain.path(), image, limits)
}
