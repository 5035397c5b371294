//! Bundles of images: `rootfs.ext4` and `manifest.json` in one compressed file, unpacked from what
//! was fetched and written for others to fetch.

use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use banger_proto::api::RunConfig;
use banger_proto::image_name::is_plain_name;
use banger_proto::{ByteSize, Code, ImageName, Problem};
use banger_rootfs::bundle::{Member, unpack_bundle, write_bundle};
use banger_rootfs::digest::{render_hex, sha256};
use banger_rootfs::tree::Limits;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::ImageError;
use super::archive::{Contents, read_archive};
use super::index::Index;
use super::manifest::Manifest;
use super::oci::{NewImage, give_up};
use super::register::check_ext4;
use crate::artifact::Cancelled;
use crate::progress::Progress;
use banger_rootfs::layers::write_image;

/// Name of the file system in a bundle.
const ROOTFS: &str = "rootfs.ext4";
/// Name of the manifest in a bundle.
const MANIFEST: &str = "manifest.json";
/// What a bundle may hold: 64 GiB of image, and a text.
const MEMBERS: [Member; 2] = [
    Member { name: MANIFEST, limit: 1 << 20, needed: true },
    Member { name: ROOTFS, limit: 64 << 30, needed: true },
];
/// Digits of the digest in a bundle's file name: what is at such an address never changes.
const NAME_DIGITS: usize = 12;

/// What a bundle says about its image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct BundleManifest {
    name: ImageName,
    distro: String,
    arch: String,
    #[serde(default)]
    kernel_ref: Option<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    run: RunConfig,
}

/// Takes the image of the verified bundle `file` into the index, as the image `name` from
/// `source`. Blocking; ends early when nobody waits any more.
///
/// # Errors
/// When the bundle is none, or is one of another image.
pub(super) fn take_bundle(
    index: &Index,
    work: &Path,
    file: &Path,
    name: &ImageName,
    source: &str,
    cancelled: &Cancelled,
    progress: &Progress,
) -> Result<Manifest, ImageError> {
    let directory = work.join("bundle");
    let mut watch = |done| {
        progress.update("unpacking the bundle", done, None);
        cancelled.flow()
    };
    let unpacked = unpack_bundle(file, &MEMBERS, &directory, &mut watch);
    give_up(cancelled, name)?;
    unpacked.map_err(|source| ImageError::Bundle { name: name.to_string(), source })?;
    let path = directory.join(MANIFEST);
    let manifest: BundleManifest = serde_json::from_slice(&fs_err::read(&path)?)
        .map_err(|source| ImageError::Manifest { path, source })?;
    if manifest.name != *name {
        let found = manifest.name.to_string();
        return Err(ImageError::OtherBundle { name: name.to_string(), found });
    }
    let rootfs = directory.join(ROOTFS);
    let size = check_ext4(&rootfs)?;
    let digest = render_hex(&sha256(&mut fs_err::File::open(&rootfs)?)?);
    give_up(cancelled, name)?;
    let about = NewImage {
        name: manifest.name,
        description: manifest.description,
        source: source.to_owned(),
        distro: manifest.distro,
        arch: manifest.arch,
        kernel_ref: manifest.kernel_ref.filter(|kernel| is_plain_name(kernel)),
        run: manifest.run,
        replace: true,
    };
    index.publish(Some(&rootfs), about.describe(digest, size), true)
}

/// What a bundle is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MakeBundle {
    /// The archive of the root file system, in any form that can be imported; none for standard
    /// input.
    pub rootfs_tar: Option<PathBuf>,
    /// Name of the image.
    pub name: ImageName,
    /// Distribution.
    pub distro: String,
    /// Architecture as the distribution calls it.
    pub arch: String,
    /// Kernel it wants; absent for the default one.
    pub kernel_ref: Option<String>,
    /// One line about it.
    pub description: String,
    /// The most that its files may have together; absent for what any image may.
    pub size: Option<ByteSize>,
    /// The directory that the bundle is put into.
    pub out: PathBuf,
}

/// A bundle that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeBundle {
    /// The file: `NAME-DIGEST.tar.zst`.
    pub path: PathBuf,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
    /// Its length in bytes.
    pub size: u64,
}

/// Makes a bundle; for those who publish images, without a daemon. Set off, `stop` ends it, and
/// nothing is left then.
///
/// # Errors
/// When the archive cannot be used, the bundle cannot be written, or it was stopped.
pub async fn make_bundle(
    asked: MakeBundle,
    stop: CancellationToken,
) -> Result<MadeBundle, Problem> {
    let work = tokio::task::spawn_blocking(move || write_bundle_of(&asked, &stop.into()));
    let made = work.await.map_err(|gone| Problem::from_error(Code::OperationFailed, &gone))?;
    Ok(made?)
}

fn write_bundle_of(asked: &MakeBundle, stop: &Cancelled) -> Result<MadeBundle, ImageError> {
    let name = asked.name.to_string();
    fs_err::create_dir_all(&asked.out)?;
    let work = tempfile::Builder::new().prefix(".bundle-").tempdir_in(&asked.out)?;
    let (path, shown) = match &asked.rootfs_tar {
        Some(path) => (path.clone(), path.display().to_string()),
        None => {
            let path = work.path().join("rootfs.tar");
            receive(&path, stop, &asked.name)?;
            (path, "standard input".to_owned())
        }
    };
    let Contents { layers, run, .. } = read_archive(&path, &shown, work.path(), stop)
        .map_err(|source| ImageError::Archive { name: name.clone(), source })?;
    let rootfs = work.path().join(ROOTFS);
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create_new(true);
    let file = fs_err::OpenOptions::from_options(options).open(&rootfs)?;
    let mut limits = Limits::default();
    limits.bytes = asked.size.map_or(limits.bytes, ByteSize::bytes);
    let built = write_image(&layers, file.file(), limits, &|_| stop.flow());
    give_up(stop, &asked.name)?;
    built.map_err(|source| ImageError::Write { name: name.clone(), source })?;

    let manifest = BundleManifest {
        name: asked.name.clone(),
        distro: asked.distro.clone(),
        arch: asked.arch.clone(),
        kernel_ref: asked.kernel_ref.clone(),
        description: asked.description.clone(),
        run,
    };
    let path = work.path().join(MANIFEST);
    let text = serde_json::to_vec_pretty(&manifest)
        .map_err(|source| ImageError::Manifest { path: path.clone(), source })?;
    fs_err::write(&path, text)?;
    let made = work.path().join("bundle.tar.zst");
    let file = Stoppable { inner: fs_err::File::create_new(&made)?, stop };
    let written = write_bundle(&[(MANIFEST, &path), (ROOTFS, &rootfs)], file);
    give_up(stop, &asked.name)?;
    let written = written.map_err(|source| ImageError::Bundle { name: name.clone(), source })?;
    let sha256 = render_hex(&written.sha256);
    let stem = super::manifest::file_stem(&asked.name);
    let digits = sha256.get(..NAME_DIGITS).unwrap_or(&sha256);
    let path = asked.out.join(format!("{stem}-{digits}.tar.zst"));
    fs_err::rename(&made, &path)?;
    Ok(MadeBundle { path, sha256, size: written.size })
}

/// Standard input into a file: an archive is read twice.
fn receive(to: &Path, stop: &Cancelled, name: &ImageName) -> Result<(), ImageError> {
    let mut file = fs_err::File::create_new(to)?;
    let mut input = io::stdin().lock();
    loop {
        give_up(stop, name)?;
        let mut chunk = input.by_ref().take(1 << 20);
        if io::copy(&mut chunk, &mut file).map_err(ImageError::Receive)? == 0 {
            return Ok(());
        }
    }
}

/// A file whose writing can be stopped.
struct Stoppable<'a> {
    inner: fs_err::File,
    stop: &'a Cancelled,
}

impl Write for Stoppable<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.stop.flow() {
            ControlFlow::Continue(()) => self.inner.write(bytes),
            // Not `Interrupted`, after which everybody tries again.
            ControlFlow::Break(()) => Err(io::Error::other("given up")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
