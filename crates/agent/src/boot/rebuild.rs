//! A VM that was given another image: its changes to the old one go, what was in `/root` stays.
//!
//! The host counts how often that happened; the writable disk has a file that says for which count
//! it was set up. Where the disk is behind, it is set up anew before the overlay is mounted:
//!
//! ```text
//!   upper/root ─▶ next/root     upper ─▶ previous.N     next ─▶ upper     marker := N
//!   └────────── each a rename on one file system, so whole or not at all ──────────┘
//!                                   work, native and previous.* removed
//! ```
//!
//! Whatever is killed in between is done again at the next boot, which tells by the names how far
//! it came. Nothing is removed before the marker says that what stays is in place; `work` and
//! `native` alone go just before it, since they must not outlive their `upper`.
//!
//! What stays are the VM's own files in `/root`, over those that the new image has there: what was
//! deleted stays deleted, what was changed stays changed. What was moved there out of the old image, or
//! only got another owner or mode, has its contents in that image, and is first completed from it
//! ([`complete`]); where the old image is not there any more, it goes with it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::overlay::make_upper;

/// The file that says for which count the disk was set up; none for the first image.
const MARKER: &str = "rebuild";
/// The upper directory that is being put together.
const NEXT: &str = "next";
/// Beginning of the names of upper directories that are not used any more.
const PREVIOUS: &str = "previous.";
/// What stays.
pub(super) const KEPT: &str = "root";
/// Beginning of the names of overlayfs's own attributes.
const OVERLAY: &[u8] = b"trusted.overlay.";
/// A directory that hides the one below: what was deleted and made anew.
const OPAQUE: &[u8] = b"trusted.overlay.opaque";
/// A file whose contents are the image's.
const METACOPY: &[u8] = b"trusted.overlay.metacopy";
/// A directory, or such a file, that is elsewhere in the image.
const REDIRECT: &[u8] = b"trusted.overlay.redirect";

/// Whether [`ensure_built`] would begin the disk anew.
pub(super) fn is_due(writable: &Path, count: u32) -> io::Result<bool> {
    Ok(load_marker(writable)? < count)
}

/// Has everything in the upper directory `top` whose contents are in the image copied out of it.
/// `merged` is the same place in the overlay of both: what is opened there for writing, or changed
/// into what it is, is copied by the kernel.
///
/// # Errors
/// The first failure, after everything else has been tried.
pub(super) fn complete(top: &Path, merged: &Path) -> io::Result<()> {
    let mut done = Ok(());
    let mut left = vec![(top.to_owned(), merged.to_owned())];
    while let Some((path, merged)) = left.pop() {
        let Ok(kind) = fs::symlink_metadata(&path).map(|data| data.file_type()) else { continue };
        let attributes = list_overlay_attributes(&path).unwrap_or_default();
        let has = |wanted: &[u8]| attributes.iter().any(|name| name == wanted);
        if kind.is_file() && has(METACOPY) {
            done = done.and(copy_up(&merged));
        }
        if !kind.is_dir() {
            continue;
        }
        if has(REDIRECT) {
            done = done.and(copy_up_tree(&merged)).and_then(|()| {
                let flags = rustix::fs::XattrFlags::empty();
                Ok(rustix::fs::lsetxattr(&path, OPAQUE, b"y", flags)?)
            });
        }
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            left.push((entry.path(), merged.join(entry.file_name())));
        }
    }
    done
}

/// Copies everything in a directory of an overlay out of the image.
fn copy_up_tree(top: &Path) -> io::Result<()> {
    let mut done = Ok(());
    let mut left = vec![top.to_owned()];
    while let Some(path) = left.pop() {
        done = done.and(copy_up(&path));
        if path.is_dir() && !path.is_symlink() {
            left.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|e| e.path()));
        }
    }
    done
}

/// Copies one thing in an overlay out of the image.
fn copy_up(path: &Path) -> io::Result<()> {
    let data = fs::symlink_metadata(path)?;
    if data.is_file() {
        File::options().write(true).open(path).map(drop)
    } else {
        std::os::unix::fs::lchown(path, Some(data.uid()), Some(data.gid()))
    }
}

/// Sets the disk mounted at `writable` up for the image at `base`, unless that was done for this
/// `count`, or a later one: a host that has forgotten takes nothing away.
pub(super) fn ensure_built(writable: &Path, base: &Path, count: u32) -> io::Result<()> {
    let upper = writable.join("upper");
    if is_due(writable, count)? {
        let (next, previous) = (writable.join(NEXT), writable.join(format!("{PREVIOUS}{count}")));
        if !previous.exists() {
            make_upper(&next, base)?;
            let kept = upper.join(KEPT);
            if fs::symlink_metadata(&kept).is_ok_and(|data| data.is_dir()) {
                fs::rename(kept, next.join(KEPT))?;
            }
            rename_if_there(&upper, &previous)?;
        }
        rename_if_there(&next, &upper)?;
        forget_image(upper.join(KEPT), base.join(KEPT));
        remove_if_there(&writable.join("work"))?;
        remove_if_there(&writable.join("native"))?;
        save_marker(writable, count)?;
    }
    for old in list_previous(writable)? {
        remove_if_there(&old)?;
    }
    Ok(())
}

fn load_marker(writable: &Path) -> io::Result<u32> {
    match fs::read_to_string(writable.join(MARKER)) {
        Ok(text) => text.trim().parse().map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Once this returns the disk has it, and with it every rename before: ext4 keeps their order.
fn save_marker(writable: &Path, count: u32) -> io::Result<()> {
    let fresh = writable.join(format!("{MARKER}.new"));
    let mut file = File::create(&fresh)?;
    writeln!(file, "{count}")?;
    file.sync_all()?;
    fs::rename(fresh, writable.join(MARKER))?;
    File::open(writable)?.sync_all()
}

fn list_previous(writable: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(writable)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(PREVIOUS)) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    if from.exists() { fs::rename(from, to) } else { Ok(()) }
}

fn remove_if_there(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Takes from everything in `top` what ties it to the old image; `base` is the same place in the new
/// one. What cannot be looked at stays as it is: a file that does not open is better than a guest
/// that does not boot.
fn forget_image(top: PathBuf, base: PathBuf) {
    let mut left = vec![(top, Some(base))];
    // A place has none in the image where nothing of it is seen through.
    while let Some((path, base)) = left.pop() {
        let Ok(data) = fs::symlink_metadata(&path) else { continue };
        let kind = data.file_type();
        let below = base.as_ref().and_then(|base| fs::symlink_metadata(base).ok());
        // A whiteout over nothing would be seen as a name that nothing is behind.
        if kind.is_char_device() && data.rdev() == 0 && below.is_none() {
            let _ = fs::remove_file(&path);
        }
        if !kind.is_dir() && !kind.is_file() {
            continue;
        }
        let attributes = list_overlay_attributes(&path).unwrap_or_default();
        let has = |wanted: &[u8]| attributes.iter().any(|name| name == wanted);
        if kind.is_file() && has(METACOPY) {
            let _ = fs::remove_file(&path);
            continue;
        }
        let merged = !has(OPAQUE) && below.is_some_and(|below| below.is_dir());
        for name in attributes.iter().filter(|name| *name != OPAQUE) {
            let _ = rustix::fs::lremovexattr(&path, name);
        }
        if kind.is_dir() {
            for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
                let base = base.as_ref().filter(|_| merged).map(|b| b.join(entry.file_name()));
                left.push((entry.path(), base));
            }
        }
    }
}

/// Names of overlayfs's attributes of `path`.
fn list_overlay_attributes(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut names = vec![0; 64 << 10];
    let length = match rustix::fs::llistxattr(path, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => 0,
        Err(errno) => return Err(errno.into()),
    };
    let names = names[..length].split(|byte| *byte == 0);
    Ok(names.filter(|name| name.starts_with(OVERLAY)).map(<[u8]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk as the guest of the first image left it.
    fn used_disk() -> tempfile::TempDir {
        let disk = tempfile::tempdir().unwrap();
        for dir in ["base", "upper/root/repo", "upper/etc", "work/index", "native/var/lib/docker"] {
            fs::create_dir_all(disk.path().join(dir)).unwrap();
        }
        fs::write(disk.path().join("upper/root/repo/notes"), "mine").unwrap();
        fs::write(disk.path().join("upper/etc/motd"), "changed").unwrap();
        disk
    }

    fn rebuild(disk: &Path, count: u32) {
        ensure_built(disk, &disk.join("base"), count).unwrap();
    }

    fn assert_rebuilt(disk: &Path, count: u32) {
        let mut names: Vec<_> =
            fs::read_dir(disk).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["base", "rebuild", "upper"]);
        let upper: Vec<_> = fs::read_dir(disk.join("upper")).unwrap().collect();
        assert_eq!(upper.len(), 1, "{upper:?}");
        assert_eq!(fs::read_to_string(disk.join("upper/root/repo/notes")).unwrap(), "mine");
        assert_eq!(load_marker(disk).unwrap(), count);
    }

    #[test]
    fn only_root_stays_and_only_once() {
        let disk = used_disk();
        rebuild(disk.path(), 0);
        assert!(disk.path().join("upper/etc/motd").exists(), "nothing was asked for");
        rebuild(disk.path(), 1);
        assert_rebuilt(disk.path(), 1);
        fs::create_dir(disk.path().join("upper/etc")).unwrap();
        // The same image at the next boot, and a host that has forgotten.
        for count in [1, 0] {
            rebuild(disk.path(), count);
            assert!(disk.path().join("upper/etc").exists());
        }
        rebuild(disk.path(), 3);
        assert_rebuilt(disk.path(), 3);
    }

    /// Wherever an attempt for image 1 died, the next boot ends as it would have, also when it is
    /// for image 2 by then.
    #[test]
    fn is_done_again_wherever_it_died() {
        let mv = |disk: &Path, from: &str, to: &str| {
            fs::rename(disk.join(from), disk.join(to)).unwrap();
        };
        for count in [1, 2] {
            for reached in 0..=6 {
                let disk = used_disk();
                let disk = disk.path();
                if reached >= 1 {
                    make_upper(&disk.join("next"), &disk.join("base")).unwrap();
                }
                if reached >= 2 {
                    mv(disk, "upper/root", "next/root");
                }
                if reached >= 3 {
                    mv(disk, "upper", "previous.1");
                }
                if reached >= 4 {
                    mv(disk, "next", "upper");
                }
                if reached >= 5 {
                    remove_if_there(&disk.join("work")).unwrap();
                }
                if reached >= 6 {
                    remove_if_there(&disk.join("native")).unwrap();
                    save_marker(disk, 1).unwrap();
                }
                rebuild(disk, count);
                assert_rebuilt(disk, count);
            }
        }
    }

    #[test]
    fn a_root_that_was_deleted_stays_away() {
        let disk = used_disk();
        fs::remove_dir_all(disk.path().join("upper/root")).unwrap();
        // As a whiteout is: no directory.
        fs::write(disk.path().join("upper/root"), "").unwrap();
        rebuild(disk.path(), 1);
        assert!(!disk.path().join("upper/root").exists());
    }
}
