//! Unmounting the guest's root with all that is mounted in it.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MoveMountFlags, UnmountFlags};

use crate::boot::NEW_ROOT;

/// Opens the root as it is now, to be able to come back.
pub(super) fn open_root() -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/", flags, Mode::empty())?)
}

/// Leaves the new root for `initramfs`, and unmounts it.
///
/// A process cannot unmount what it lives in, nor name what lies on its own root. But a mount
/// can be moved to an opened directory: so the root goes back to where it was put together, and
/// this process out of it.
pub(super) fn leave_new_root(initramfs: OwnedFd) {
    if let Err(error) = move_back(initramfs) {
        eprintln!("banger-agent: cannot leave the guest's root: {error}");
        return;
    }
    unmount_below(Path::new(NEW_ROOT));
}

fn move_back(initramfs: OwnedFd) -> io::Result<()> {
    let root = open_root()?;
    let name = NEW_ROOT.trim_start_matches('/');
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&root, "", &initramfs, name, flags)?;
    // An open directory would keep the mount busy.
    drop(root);
    rustix::process::fchdir(initramfs)?;
    Ok(rustix::process::chroot(".")?)
}

/// Unmounts everything at and below `top`, the latest mounts first. Goes on past what is busy,
/// comes back to it as long as that helps, and in the end cuts it off, so that at least its
/// last writes are not waited for by anybody.
pub(super) fn unmount_below(top: &Path) {
    loop {
        let mounts = list_below(top);
        let before = mounts.len();
        for mount in mounts.iter().rev() {
            let _ = rustix::mount::unmount(mount, UnmountFlags::NOFOLLOW);
        }
        let left = list_below(top);
        if left.is_empty() {
            return;
        }
        if left.len() == before {
            for mount in left.iter().rev() {
                eprintln!("banger-agent: `{}` is still in use", mount.display());
                let flags = UnmountFlags::NOFOLLOW | UnmountFlags::DETACH;
                let _ = rustix::mount::unmount(mount, flags);
            }
            return;
        }
    }
}

fn list_below(top: &Path) -> Vec<PathBuf> {
    let mountinfo = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let mounts = parse_mount_points(&mountinfo).into_iter();
    mounts.filter(|mount| mount.starts_with(top)).collect()
}

/// The fifth field of every line of mountinfo (proc(5)), in the order of mounting.
fn parse_mount_points(mountinfo: &[u8]) -> Vec<PathBuf> {
    mountinfo
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(|field| PathBuf::from(OsString::from_vec(unescape(field))))
        .collect()
}

/// Blanks, line ends and backslashes are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|_| first == b'\\');
        let value = digits
            .and_then(|digits| str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match value {
            Some(value) => {
                bytes.push(value);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_blanks_are_read() {
        let text = b"36 35 98:0 /mnt1 /newroot rw,noatime master:1 - ext3 /dev/root rw\n\
            37 36 0:5 / /newroot/a\\040b\\134 rw - tmpfs t rw\n\n";
        assert_eq!(
            parse_mount_points(text),
            [PathBuf::from("/newroot"), PathBuf::from("/newroot/a b\\")]
        );
    }
}
