//! The disks joined: the kernel's modules lowest, the image over them, the VM's own changes above,
//! and directories that need a native file system bound from the writable disk.
//!
//! So the modules are in `/lib/modules` like any other files there: what the image has of the same
//! name wins, and packages may add to them. An image without them is none the worse.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::mounts::{Mount, bind, detach};
use super::{BootError, NEW_ROOT, disks};
use crate::root::{Root, RootDir};

/// The disks' mount points in the initramfs, for as long as the overlay is put together.
const BASE: &str = "/base";
const WRITABLE: &str = "/writable";
const MODULES: &str = "/kernel-modules";

/// Directories whose programs refuse an overlay as their disk: container stores, whose own
/// overlays cannot lie upon this one. They are there in every guest, since a container engine
/// may be installed later.
const NATIVE: [&str; 3] = ["/var/lib/docker", "/var/lib/containerd", "/var/lib/containers"];

/// - `redirect_dir`: directories of the image can be renamed (else EXDEV).
/// - `xino`: inode numbers of both disks stay distinct and constant.
/// - `metacopy`: changing only the owner or mode of a file does not copy its contents.
const OPTIONS: &str = "redirect_dir=on,xino=on,metacopy=on";

/// Mounts everything at [`NEW_ROOT`]. Returns what the user should know.
pub(super) fn mount(
    base: &str,
    writable: &str,
    modules: Option<&str>,
) -> Result<Vec<String>, BootError> {
    // What is read-only is one file for many VMs: not even its journal is replayed.
    let read_only = (MountFlags::RDONLY, "noload");
    mount_disk(base, BASE, read_only)?;
    mount_disk(writable, WRITABLE, (MountFlags::empty(), ""))?;
    let mut lower = BASE.to_owned();
    if let Some(modules) = modules {
        mount_disk(modules, MODULES, read_only)?;
        lower = format!("{BASE}:{MODULES}");
    }
    prepare_layers().map_err(BootError::preparing("the layers of the writable disk"))?;
    let mut warnings = join(&lower)?;
    warnings.extend(bind_native()?);
    // The overlay and the binds hold the file systems from here on.
    detach(Path::new(WRITABLE))?;
    detach(Path::new(BASE))?;
    if modules.is_some() {
        detach(Path::new(MODULES))?;
    }
    Ok(warnings)
}

fn mount_disk(
    serial: &str,
    target: &str,
    (flags, options): (MountFlags, &str),
) -> Result<(), BootError> {
    let source = disks::find(serial)?;
    Mount { kind: "ext4", source: &source.to_string_lossy(), target, flags, options }.mount()
}

/// Undoes as much of [`mount`] as was done.
pub(super) fn remove() {
    for target in [NEW_ROOT, WRITABLE, BASE, MODULES] {
        let _ = detach(Path::new(target));
    }
}

/// The upper directory is the new root's top, so it gets the owner and mode of the image's.
fn prepare_layers() -> io::Result<()> {
    let writable = Path::new(WRITABLE);
    let upper = writable.join("upper");
    if !upper.exists() {
        let base = std::fs::metadata(BASE)?;
        // Under another name until it is right, so that a boot that dies here is no special case.
        let fresh = writable.join("upper.new");
        std::fs::create_dir_all(&fresh)?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(base.mode() & 0o7777))?;
        std::os::unix::fs::chown(&fresh, Some(base.uid()), Some(base.gid()))?;
        std::fs::rename(&fresh, &upper)?;
    }
    std::fs::create_dir_all(writable.join("work"))?;
    std::fs::create_dir_all(writable.join("native"))
}

/// Mounts the overlay, with `index=on`: names of one file in the image stay names of one file
/// when it is written. The index notes which base it belongs to. Images are named after their
/// contents and a VM keeps its image for life, so it always fits; should a base be exchanged all
/// the same, the kernel refuses (ESTALE), and a VM that starts without that property is better
/// than none.
fn join(lower: &str) -> Result<Vec<String>, BootError> {
    let overlay = |index: &str| {
        let options = format!(
            "lowerdir={lower},upperdir={WRITABLE}/upper,workdir={WRITABLE}/work,{OPTIONS},index={index}"
        );
        Mount {
            kind: "overlay",
            source: "overlay",
            target: NEW_ROOT,
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
pub(super) fn real_path(fd: &impl std::os::fd::AsRawFd) -> std::path::PathBuf {
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
