//! The disks joined: the kernel's modules lowest, the image over them, the VM's own changes above,
//! and directories that need a native file system bound from the writable disk.
//!
//! So the modules are in `/lib/modules` like any other files there: what the image has of the same
//! name wins, and packages may add to them. An image without them is none the worse.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use banger_proto::guest::GuestConfig;
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::mounts::{Mount, bind, detach};
use super::{BootError, NEW_ROOT, disks, grow, rebuild};
use crate::root::{Root, RootDir};

/// The disks' mount points in the initramfs, for as long as the overlay is put together.
const BASE: &str = "/base";
const WRITABLE: &str = "/writable";
const MODULES: &str = "/kernel-modules";
/// The image before, and the root that it made with the guest's changes.
const PREVIOUS: &str = "/previous";
const BEFORE: &str = "/before";

/// Directories whose programs refuse an overlay as their disk: container stores, whose own
/// overlays cannot lie upon this one. They are there in every guest, since a container engine
/// may be installed later.
const NATIVE: [&str; 3] = ["/var/lib/docker", "/var/lib/containerd", "/var/lib/containers"];

/// - `redirect_dir`: directories of the image can be renamed (else EXDEV).
/// - `xino`: inode numbers of both disks stay distinct and constant.
/// - `metacopy`: changing only the owner or mode of a file does not copy its contents.
const OPTIONS: &str = "redirect_dir=on,xino=on,metacopy=on";

/// Mounts everything at [`NEW_ROOT`]. Returns what the user should know.
pub(super) fn mount(config: &GuestConfig) -> Result<Vec<String>, BootError> {
    // What is read-only is one file for many VMs: not even its journal is replayed.
    let read_only = (MountFlags::RDONLY, "noload");
    mount_disk(&config.base_serial, BASE, read_only)?;
    let device = mount_disk(&config.writable_serial, WRITABLE, (MountFlags::empty(), ""))?;
    let mut lower = BASE.to_owned();
    let modules = config.modules_serial.as_deref();
    if let Some(modules) = modules {
        mount_disk(modules, MODULES, read_only)?;
        lower = format!("{BASE}:{MODULES}");
    }
    let mut warnings = Vec::new();
    // A disk that is too small is better than no guest.
    if let Err(error) = grow::fill_disk(&device, Path::new(WRITABLE)) {
        warnings.push(format!("the file system does not use all of the disk: {error}"));
    }
    if let Some(previous) = &config.previous_serial {
        let lower = lower.replacen(BASE, PREVIOUS, 1);
        // Better no guest than one that has lost something: with a larger disk, the next start
        // goes on where this one failed.
        complete_root(previous, &lower, config.rebuild)?;
    }
    rebuild::ensure_built(Path::new(WRITABLE), Path::new(BASE), config.rebuild)
        .map_err(BootError::preparing("the disk for another image"))?;
    prepare_layers().map_err(BootError::preparing("the layers of the writable disk"))?;
    warnings.extend(join(&lower, NEW_ROOT)?);
    warnings.extend(bind_native()?);
    // The overlay and the binds hold the file systems from here on.
    detach(Path::new(WRITABLE))?;
    detach(Path::new(BASE))?;
    if modules.is_some() {
        detach(Path::new(MODULES))?;
    }
    Ok(warnings)
}

/// Mounts a disk at `target`; returns its device.
fn mount_disk(
    serial: &str,
    target: &str,
    (flags, options): (MountFlags, &str),
) -> Result<PathBuf, BootError> {
    let source = disks::find(serial)?;
    Mount { kind: "ext4", source: &source.to_string_lossy(), target, flags, options }.mount()?;
    Ok(source)
}

/// Undoes as much of [`mount`] as was done.
pub(super) fn remove() {
    for target in [NEW_ROOT, BEFORE, WRITABLE, BASE, MODULES, PREVIOUS] {
        let _ = detach(Path::new(target));
    }
}

fn prepare_layers() -> io::Result<()> {
    let writable = Path::new(WRITABLE);
    let upper = writable.join("upper");
    if !upper.exists() {
        // Under another name until it is right, so that a boot that dies here is no special case.
        let fresh = writable.join("upper.new");
        make_upper(&fresh, Path::new(BASE))?;
        std::fs::rename(&fresh, &upper)?;
    }
    std::fs::create_dir_all(writable.join("work"))?;
    std::fs::create_dir_all(writable.join("native"))
}

/// Makes an upper directory, if it is not there. It is the new root's top, so it gets the owner and
/// mode of that of the image at `base`.
pub(super) fn make_upper(upper: &Path, base: &Path) -> io::Result<()> {
    let base = std::fs::metadata(base)?;
    std::fs::create_dir_all(upper)?;
    std::fs::set_permissions(upper, std::fs::Permissions::from_mode(base.mode() & 0o7777))?;
    std::os::unix::fs::chown(upper, Some(base.uid()), Some(base.gid()))
}

/// Mounts the overlay, with `index=on`: names of one file in the image stay names of one file
/// when it is written. The index notes which base it belongs to. Images are named after their
/// contents, and a VM that is given another begins a new index ([`rebuild`]), so it always fits;
/// should a base be exchanged all the same, the kernel refuses (ESTALE), and a VM that starts
/// without that property is better than none.
fn join(lower: &str, target: &str) -> Result<Vec<String>, BootError> {
    let overlay = |index: &str| {
        let options = format!(
            "lowerdir={lower},upperdir={WRITABLE}/upper,workdir={WRITABLE}/work,{OPTIONS},index={index}"
        );
        Mount {
            kind: "overlay",
            source: "overlay",
            target,
            flags: MountFlags::empty(),
            options: &options,
        }
        .mount()
    };
    match overlay("on") {
        Ok(()) => Ok(Vec::new()),
        Err(BootError::Mount { source, .. })
            if source.raw_os_error() == Some(Errno::STALE.raw_os_error()) =>
        {
            overlay("off")?;
            Ok(vec!["the image is not the one this VM was made from; hard links of the image may come apart".into()])
        }
        Err(error) => Err(error),
    }
}

/// Has the writable disk hold all of `/root` that only points to the image before, while that is
/// still to be had: the last time that the guest's changes are joined with it.
fn complete_root(serial: &str, lower: &str, rebuild: u32) -> Result<(), BootError> {
    let preparing =
        || BootError::preparing("what is kept of `/root`, for which the disk may be too small");
    let upper = Path::new(WRITABLE).join("upper");
    let due = rebuild::is_due(Path::new(WRITABLE), rebuild).map_err(preparing())?;
    if !due || !upper.join(rebuild::KEPT).is_dir() {
        return Ok(());
    }
    mount_disk(serial, PREVIOUS, (MountFlags::RDONLY, "noload"))?;
    let joined = join(lower, BEFORE);
    // It writes to the disk, too, and finds out first that there is no room.
    let joined = joined.map_err(|error| preparing()(io::Error::other(error)));
    let completed = joined.and_then(|_| {
        let merged = Path::new(BEFORE).join(rebuild::KEPT);
        let completed = rebuild::complete(&upper.join(rebuild::KEPT), &merged);
        detach(Path::new(BEFORE))?;
        completed.map_err(preparing())
    });
    detach(Path::new(PREVIOUS))?;
    completed
}

/// Binds every native directory. What the image has in its place is hidden, and told.
fn bind_native() -> Result<Vec<String>, BootError> {
    let root = open_new_root()?;
    let mut warnings = Vec::new();
    for path in NATIVE {
        let preparing = || BootError::preparing(format!("`{path}`"));
        let source = Path::new(WRITABLE).join("native").join(path.trim_start_matches('/'));
        std::fs::create_dir_all(&source).map_err(preparing())?;
        let target = root.ensure_directory(Path::new(path)).map_err(preparing())?;
        let target = real_path(&target);
        if has_files(&target) {
            warnings.push(format!("what the image has in `{path}` is hidden by the VM's own"));
        }
        let mode = std::fs::metadata(&target).map_err(preparing())?.mode() & 0o7777;
        std::fs::set_permissions(&source, std::fs::Permissions::from_mode(mode))
            .map_err(preparing())?;
        bind(&source, &target, false)?;
    }
    Ok(warnings)
}

/// Opens the new root, to prepare files in it.
pub(super) fn open_new_root() -> Result<RootDir, BootError> {
    Root::Directory(NEW_ROOT.into()).open().map_err(BootError::preparing("the new root"))
}

/// A path of an opened place that means it, whatever links led there.
pub(super) fn real_path(fd: &impl std::os::fd::AsRawFd) -> PathBuf {
    Path::new("/proc/self/fd").join(fd.as_raw_fd().to_string())
}

/// Whether there is anything but empty directories in `directory`, not looking deep.
fn has_files(directory: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else { return false };
    entries.flatten().any(|entry| {
        !entry.file_type().is_ok_and(|kind| kind.is_dir())
            || std::fs::read_dir(entry.path()).is_ok_and(|mut inner| inner.next().is_some())
    })
}
