//! Images whose file is the user's own: registering one, and copying one into the index.

use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use banger_proto::api::{RegisterImage, RunConfig};
use banger_proto::{ByteSize, ImageName};
use banger_rootfs::digest::{HashingReader, render_hex};

use super::build::Builder;
use super::import::check_kernel;
use super::index::Index;
use super::manifest::{Location, Manifest};
use super::oci::{NewImage, give_up};
use super::{ImageError, lost};
use crate::artifact::{Cancelled, blocking, cancellable};
use crate::disk::check_space;
use crate::progress::Progress;

/// Where an ext4 file system's superblock begins, and its length, in bytes
/// (<https://www.kernel.org/doc/html/latest/filesystems/ext4/globals.html>).
const SUPERBLOCK: (u64, usize) = (1024, 1024);
/// `s_magic`.
const MAGIC: u16 = 0xef53;
/// Bytes copied at once; those that are all zero become holes.
const CHUNK: usize = 64 << 10;
/// Bytes copied between two words about it.
const REPORTED: u64 = 16 << 20;

/// Why a file is no ext4 file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoExt4 {
    /// Something else.
    #[error("it has no ext4 superblock")]
    Magic,
    /// Its end is missing.
    #[error("it has {found} bytes, and its superblock tells of {told}")]
    Short {
        /// Bytes it has.
        found: u64,
        /// Bytes it should have.
        told: u64,
    },
}

/// Takes the file system `asked.rootfs` into the index; the file stays where it is.
///
/// # Errors
/// When it is no ext4 file system, or the name is taken.
pub(super) async fn register_image(
    index: Index,
    asked: RegisterImage,
) -> Result<Manifest, ImageError> {
    let name = asked.name.clone();
    let work = blocking(move || {
        check_kernel(asked.kernel.as_deref())?;
        let rootfs = PathBuf::from(&asked.rootfs);
        if !rootfs.is_absolute() {
            return Err(ImageError::Relative(rootfs));
        }
        let size = check_ext4(&rootfs)?;
        let manifest = Manifest {
            name: asked.name.to_string(),
            description: asked.description.unwrap_or_else(|| "registered".into()),
            distro: "unknown".into(),
            arch: "amd64".into(),
            digest: String::new(),
            source: asked.rootfs,
            location: Location::Registered { rootfs },
            size: ByteSize::from_bytes(size),
            created_at: jiff::Timestamp::now().to_string(),
            kernel_ref: asked.kernel,
            run: RunConfig::default(),
        };
        index.publish(None, manifest, asked.force)
    });
    work.await.map_err(|source| lost(name.as_str(), source))?
}

/// Copies the file of the registered image `manifest` into the index, holes and all.
///
/// # Errors
/// When it is not a registered one, its file is gone or no ext4 file system any more, there is no
/// room, or nobody waits any more.
pub(super) async fn promote_image(
    builder: Builder,
    manifest: Manifest,
    progress: Progress,
) -> Result<Manifest, ImageError> {
    let name: ImageName = manifest.name.parse()?;
    let Location::Registered { rootfs } = manifest.location.clone() else {
        return Err(ImageError::NotRegistered(manifest.name));
    };
    let work = builder.work.create()?;
    let work = cancellable(move |cancelled| {
        // The directory goes when the work ends, not when somebody stops waiting for it.
        let work = work;
        let name: ImageName = manifest.name.parse()?;
        let size = check_ext4(&rootfs)?;
        let room = ByteSize::from_bytes(allocated(&rootfs)?);
        check_space(work.path(), room)?
            .map_err(|source| ImageError::Space { name: manifest.name.clone(), source })?;
        let made = work.path().join("image.ext4");
        let digest = copy_sparse(&rootfs, &made, size, &name, &cancelled, &progress)?;
        let about = NewImage {
            name,
            description: manifest.description,
            source: manifest.source,
            distro: manifest.distro,
            arch: manifest.arch,
            kernel_ref: manifest.kernel_ref,
            run: manifest.run,
            replace: true,
        };
        builder.index.publish(Some(&made), about.describe(digest, size), true)
    });
    work.await.map_err(|source| lost(name.as_str(), source))?
}

/// The length of the ext4 file system at `path`, in bytes.
///
/// # Errors
/// When the file is gone or no ext4 file system.
pub(super) fn check_ext4(path: &Path) -> Result<u64, ImageError> {
    let refused = |source| ImageError::NotExt4 { path: path.to_owned(), source };
    let data = fs_err::metadata(path)?;
    if !data.is_file() {
        return Err(refused(NoExt4::Magic));
    }
    let mut file = fs_err::File::open(path)?;
    let mut superblock = [0; SUPERBLOCK.1];
    file.seek(io::SeekFrom::Start(SUPERBLOCK.0))?;
    match file.read_exact(&mut superblock) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(refused(NoExt4::Magic));
        }
        read => read?,
    }
    let told = parse_superblock(&superblock).ok_or_else(|| refused(NoExt4::Magic))?;
    if told > data.len() {
        return Err(refused(NoExt4::Short { found: data.len(), told }));
    }
    Ok(data.len())
}

/// Bytes of the file system that a superblock tells of
/// (<https://www.kernel.org/doc/html/latest/filesystems/ext4/super.html>).
fn parse_superblock(superblock: &[u8; SUPERBLOCK.1]) -> Option<u64> {
    let u32_at = |at: usize| superblock.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let magic = u16::from_le_bytes([superblock[0x38], superblock[0x39]]);
    let (low, high) = (u32_at(0x4)?, u32_at(0x150)?);
    // Shifts beyond 64 KiB blocks mean nothing to Linux.
    let block = 1024_u64.checked_shl(u32_at(0x18)?).filter(|block| *block <= 64 << 10)?;
    let is_64_bit = u32_at(0x60)? & 0x80 != 0;
    let blocks = u64::from(low) | if is_64_bit { u64::from(high) << 32 } else { 0 };
    (magic == MAGIC).then(|| blocks.saturating_mul(block))
}

fn allocated(path: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs_err::metadata(path)?.blocks() * 512)
}

/// Copies a file and returns its SHA-256, hexadecimal.
fn copy_sparse(
    from: &Path,
    to: &Path,
    size: u64,
    name: &ImageName,
    cancelled: &Cancelled,
    progress: &Progress,
) -> Result<String, ImageError> {
    let mut reader = HashingReader::new(fs_err::File::open(from)?.take(size));
    let mut file = fs_err::File::create_new(to)?;
    file.set_len(size)?;
    let mut chunk = vec![0; CHUNK];
    let mut done = 0_u64;
    while done < size {
        give_up(cancelled, name)?;
        let wanted = usize::try_from(size - done).unwrap_or(CHUNK).min(CHUNK);
        reader.read_exact(&mut chunk[..wanted])?;
        if chunk[..wanted].iter().any(|byte| *byte != 0) {
            file.seek(io::SeekFrom::Start(done))?;
            file.write_all(&chunk[..wanted])?;
        }
        done += wanted as u64;
        if done.is_multiple_of(REPORTED) || done == size {
            progress.update("copying the image", done, Some(size));
        }
    }
    Ok(render_hex(&reader.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with a superblock that tells of `blocks` blocks of 1 KiB.
    fn ext4(path: &Path, blocks: u32, length: u64) {
        let file = fs_err::File::create(path).unwrap();
        file.set_len(length).unwrap();
        let mut superblock = [0; SUPERBLOCK.1];
        superblock[0x38..0x3a].copy_from_slice(&MAGIC.to_le_bytes());
        superblock[0x4..0x8].copy_from_slice(&blocks.to_le_bytes());
        use std::os::unix::fs::FileExt;
        file.file().write_all_at(&superblock, SUPERBLOCK.0).unwrap();
    }

    #[test]
    fn only_whole_file_systems_are_taken() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("x.ext4");
        ext4(&path, 64, 64 << 10);
        assert_eq!(check_ext4(&path).unwrap(), 64 << 10);
        ext4(&path, 65, 64 << 10);
        let short = check_ext4(&path).unwrap_err();
        let told = NoExt4::Short { found: 64 << 10, told: 65 << 10 };
        assert!(matches!(short, ImageError::NotExt4 { source, .. } if source == told));
        for other in [&b"a text"[..], &[0; 4096]] {
            fs_err::write(&path, other).unwrap();
            let error = check_ext4(&path).unwrap_err();
            assert!(matches!(error, ImageError::NotExt4 { source: NoExt4::Magic, .. }), "{error}");
        }
        assert!(matches!(check_ext4(place.path()), Err(ImageError::NotExt4 { .. })));
        assert!(matches!(check_ext4(&place.path().join("nope")), Err(ImageError::File(_))));
    }

    #[test]
    fn copies_are_equal_and_sparse() {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("from"), place.path().join("to"));
        let size = (4 << 20) + 100;
        ext4(&from, 64, size);
        let name = "x".parse().unwrap();
        let (never, nobody) = (Cancelled::never(), Progress::none());
        let digest = copy_sparse(&from, &to, size, &name, &never, &nobody).unwrap();
        let copied = fs_err::read(&to).unwrap();
        assert!(copied == fs_err::read(&from).unwrap());
        assert_eq!(digest, render_hex(&banger_rootfs::digest::sha256(&mut &copied[..]).unwrap()));
        assert!(allocated(&to).unwrap() <= 2 * CHUNK as u64);
    }
}
