//! The kernel's own file systems in the initramfs: what the agent itself needs, and `/dev` as
//! the guest will have it.

use std::path::Path;

use rustix::mount::MountFlags;

use super::mounts::Mount;

const NOTHING: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Everything in order. `/dev` is bound into the new root with what is mounted below it, so that
/// terminals and shared memory of the first commands are those of all later ones.
const MOUNTS: [Mount<'_>; 8] = [
    Mount {
        kind: "devtmpfs",
        source: "dev",
        target: "/dev",
        flags: MountFlags::NOSUID,
        options: "mode=755",
    },
    Mount { kind: "proc", source: "proc", target: "/proc", flags: NOTHING, options: "" },
    Mount { kind: "sysfs", source: "sysfs", target: "/sys", flags: NOTHING, options: "" },
    Mount {
        kind: "cgroup2",
        source: "cgroup2",
        target: "/sys/fs/cgroup",
        flags: NOTHING,
        options: "nsdelegate,memory_recursiveprot",
    },
    Mount {
        kind: "devpts",
        source: "devpts",
        target: "/dev/pts",
        flags: MountFlags::NOSUID.union(MountFlags::NOEXEC),
        // The group is `tty` on every distribution.
        options: "mode=620,gid=5,ptmxmode=666",
    },
    Mount {
        kind: "tmpfs",
        source: "tmpfs",
        target: "/dev/shm",
        flags: MountFlags::NOSUID.union(MountFlags::NODEV),
        options: "mode=1777",
    },
    Mount { kind: "mqueue", source: "mqueue", target: "/dev/mqueue", flags: NOTHING, options: "" },
    Mount {
        kind: "hugetlbfs",
        source: "hugetlbfs",
        target: "/dev/hugepages",
        flags: MountFlags::NOSUID.union(MountFlags::NODEV),
        options: "",
    },
];

/// Names in `/dev` that programs expect and the kernel does not make.
const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// File systems that kernels may lack without anybody missing them.
const OPTIONAL: [&str; 2] = ["mqueue", "hugetlbfs"];

/// Mounts all of it; says what did not work. Nothing here ends a boot: whoever needs what is
/// missing finds out.
pub(crate) fn mount_kernel_interfaces() -> Vec<String> {
    let mut warnings = Vec::new();
    for mount in MOUNTS {
        let Err(error) = mount.mount() else { continue };
        if OPTIONAL.contains(&mount.kind) {
            // No empty directory for what the kernel does not have.
            let _ = std::fs::remove_dir(mount.target);
        } else if !is_mounted_already(&mount) {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            warnings.push(format!("{error}: {}", cause.unwrap_or_default()));
        }
    }
    for (target, link) in LINKS {
        let _ = std::os::unix::fs::symlink(target, link);
    }
    warnings
}

/// Some kernels mount `/dev` by themselves.
fn is_mounted_already(mount: &Mount<'_>) -> bool {
    mount.kind == "devtmpfs" && Path::new("/dev/null").exists()
}
