//! The kernel's interfaces in the new root, and what only an image without an init of its own
//! needs from the agent.

use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;

use super::BootError;
use super::mounts::{Mount, bind};
use super::overlay::real_path;
use crate::root::RootDir;

const NOTHING: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Directories every root has, whatever an image forgot, and their modes where it did.
const DIRECTORIES: [(&str, u32); 7] = [
    ("/proc", 0o555),
    ("/sys", 0o555),
    ("/dev", 0o755),
    ("/run", 0o755),
    ("/tmp", 0o1777),
    ("/var/tmp", 0o1777),
    ("/root", 0o700),
];

/// Mounts `/proc`, `/sys` and `/dev`; makes the directories a root must have.
pub(super) fn mount_interfaces(root: &RootDir) -> Result<(), BootError> {
    for (directory, mode) in DIRECTORIES {
        let existed = root.directory(Path::new(directory)).is_ok();
        let made = ensure(root, directory)?;
        if !existed {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(real_path(&made), mode)
                .map_err(BootError::preparing(format!("`{directory}`")))?;
        }
    }
    mount_at(root, "proc", "/proc", NOTHING, "")?;
    mount_at(root, "sysfs", "/sys", NOTHING, "")?;
    bind(Path::new("/dev"), &real_path(&ensure(root, "/dev")?), true)?;
    // Where the kernel has it; else systemd would spend a unit on it.
    if root.directory(Path::new("/sys/fs/fuse/connections")).is_ok() {
        mount_at(root, "fusectl", "/sys/fs/fuse/connections", NOTHING, "")?;
    }
    Ok(())
}

/// Makes the directory that an image wants its programs to run in, where it left that to
/// whoever runs it. Returns what did not work: those programs will say so again.
pub(super) fn ensure_working_dir(root: &RootDir, path: &str) -> Option<String> {
    let error = root.ensure_directory(Path::new(path)).err()?;
    Some(format!("cannot make the image's working directory `{path}`: {error}"))
}

/// What a root without systemd gets from the agent beyond that: control groups. Its `/run` stays
/// the image's, with what its packages put there. Returns what did not work.
pub(super) fn complete_without_init(root: &RootDir) -> Vec<String> {
    let options = "nsdelegate,memory_recursiveprot";
    let mounted = mount_at(root, "cgroup2", "/sys/fs/cgroup", NOTHING, options);
    mounted.err().map(|error| error.to_string()).into_iter().collect()
}

/// Mounts a file system without a device at `path` of the new root.
pub(super) fn mount_at(
    root: &RootDir,
    kind: &str,
    path: &str,
    flags: MountFlags,
    options: &str,
) -> Result<PathBuf, BootError> {
    let place = ensure(root, path)?;
    let target = real_path(&place);
    let target_text = target.to_string_lossy();
    Mount { kind, source: kind, target: &target_text, flags, options }.mount().map_err(
        |error| match error {
            BootError::Mount { what, source, .. } => {
                BootError::Mount { what, target: path.to_owned(), source }
            }
            other => other,
        },
    )?;
    Ok(target)
}

fn ensure(root: &RootDir, path: &str) -> Result<std::os::fd::OwnedFd, BootError> {
    root.ensure_directory(Path::new(path)).map_err(BootError::preparing(format!("`{path}`")))
}
