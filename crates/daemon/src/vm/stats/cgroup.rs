//! What a VM's control group counted, where the VM has one to itself.
//!
//! The kernel's sums know what looking at single processes misses: programs that have ended, and
//! the page cache that disks take. They are the VM's only if nobody else is in the group, as where
//! a service manager gave supervisor and VMM a scope of their own; a group that is shared with the
//! shell that started the daemon says nothing about a VM, and is left out. Groups are looked at,
//! never made. Files: cgroup v2, in the kernel's `Documentation/admin-guide/cgroup-v2.rst`.

use std::path::{Path, PathBuf};

use fs_err as fs;

/// The mounted hierarchy.
#[derive(Debug, Clone)]
pub(crate) struct Cgroups {
    mounted_at: PathBuf,
}

/// What a group has counted since it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupUse {
    /// Beneath the mount, from `/`.
    pub(crate) path: String,
    /// Processor time in milliseconds.
    pub(crate) cpu_ms: u64,
    /// Bytes of memory, page cache and the kernel's share included; where that is counted.
    pub(crate) memory: Option<u64>,
    /// Bytes read from and written to block devices; where that is counted.
    pub(crate) io: Option<(u64, u64)>,
}

impl Cgroups {
    /// Where this host has cgroup v2 mounted, if it has.
    pub(crate) fn observe() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
        Some(Self { mounted_at: parse_mount(&mounts)? })
    }

    /// What the group of `first` counted, if all of `processes` and no others are in it. `None`,
    /// too, when a process is gone.
    pub(super) fn usage(&self, processes: &[u32]) -> Option<GroupUse> {
        let membership = fs::read_to_string(format!("/proc/{}/cgroup", processes.first()?)).ok()?;
        self.usage_of(parse_membership(&membership)?, processes)
    }

    fn usage_of(&self, path: &str, processes: &[u32]) -> Option<GroupUse> {
        let group = self.mounted_at.join(path.trim_start_matches('/'));
        let read = |file: &str| fs::read_to_string(group.join(file)).ok();
        let mut members: Vec<u32> =
            read("cgroup.procs")?.lines().map(str::parse).collect::<Result<_, _>>().ok()?;
        let mut expected = processes.to_vec();
        members.sort_unstable();
        expected.sort_unstable();
        if members != expected || has_groups(&group) {
            return None;
        }
        Some(GroupUse {
            path: path.to_owned(),
            cpu_ms: parse_field(&read("cpu.stat")?, "usage_usec")? / 1000,
            memory: read("memory.current").and_then(|text| text.trim().parse().ok()),
            io: read("io.stat").map(|text| sum_io(&text)),
        })
    }
}

/// Whether there are groups beneath, whose processes count here and are not listed here.
fn has_groups(group: &Path) -> bool {
    let Ok(entries) = fs::read_dir(group) else { return true };
    entries.flatten().any(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
}

/// Mount point of the first cgroup v2 in the text of `/proc/self/mounts`.
fn parse_mount(mounts: &str) -> Option<PathBuf> {
    let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = fields.find(|fields| fields.get(2) == Some(&"cgroup2"))?;
    mount.get(1).map(PathBuf::from)
}

/// Path of the v2 group in the text of `/proc/PID/cgroup`; the hierarchy's root is everybody's.
fn parse_membership(text: &str) -> Option<&str> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    // A group that was removed has no files any more, one outside of this namespace is not ours.
    (path.starts_with('/') && path != "/" && !path.split('/').any(|part| part == ".."))
        .then_some(path)
}

/// The number behind `name` in a flat-keyed file.
fn parse_field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value?.trim().parse().ok()
}

/// Bytes read and written, over all devices of an `io.stat`.
fn sum_io(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        let values = text.split_ascii_whitespace().filter_map(|word| word.strip_prefix(key));
        values.filter_map(|value| value.parse::<u64>().ok()).fold(0, u64::saturating_add)
    };
    (sum("rbytes="), sum("wbytes="))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(files: &[(&str, &str)]) -> (tempfile::TempDir, Cgroups) {
        let top = tempfile::tempdir().unwrap();
        let group = top.path().join("user.slice/banger-a.scope");
        std::fs::create_dir_all(&group).unwrap();
        for (name, text) in files {
            std::fs::write(group.join(name), text).unwrap();
        }
        let cgroups = Cgroups { mounted_at: top.path().to_owned() };
        (top, cgroups)
    }

    const PATH: &str = "/user.slice/banger-a.scope";
    const CPU: (&str, &str) = ("cpu.stat", "usage_usec 2500999\nuser_usec 1\nsystem_usec 2\n");

    #[test]
    fn a_group_of_its_own_is_read() {
        let (_top, cgroups) = group(&[
            ("cgroup.procs", "12\n7\n"),
            CPU,
            ("memory.current", "4096\n"),
            ("io.stat", "254:0 rbytes=100 wbytes=20 rios=1 wios=1\n7:0 rbytes=1 wbytes=2\n"),
        ]);
        let usage = cgroups.usage_of(PATH, &[7, 12]).unwrap();
        assert_eq!((usage.path.as_str(), usage.cpu_ms), (PATH, 2500));
        assert_eq!((usage.memory, usage.io), (Some(4096), Some((101, 22))));
    }

    #[test]
    fn what_is_not_counted_is_absent() {
        let (_top, cgroups) = group(&[("cgroup.procs", "7\n"), CPU]);
        let usage = cgroups.usage_of(PATH, &[7]).unwrap();
        assert_eq!((usage.memory, usage.io), (None, None));
        assert_eq!(cgroups.usage_of("/user.slice/gone.scope", &[7]), None);
    }

    #[test]
    fn a_shared_group_says_nothing() {
        let (top, cgroups) = group(&[("cgroup.procs", "7\n12\n99\n"), CPU]);
        assert_eq!(cgroups.usage_of(PATH, &[7, 12]), None);
        // Nor does one that has only one of the two, or groups beneath.
        let own = top.path().join(&PATH[1..]);
        std::fs::write(own.join("cgroup.procs"), "7\n").unwrap();
        assert_eq!(cgroups.usage_of(PATH, &[7, 12]), None);
        assert!(cgroups.usage_of(PATH, &[7]).is_some());
        std::fs::create_dir(own.join("beneath")).unwrap();
        assert_eq!(cgroups.usage_of(PATH, &[7]), None);
    }

    #[test]
    fn the_group_and_its_mount_are_found() {
        let mounts = "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(parse_mount(mounts), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(parse_mount("proc /proc proc rw 0 0\n"), None);
        assert_eq!(parse_membership("4:memory:/x\n0::/a/b.scope\n"), Some("/a/b.scope"));
        for nobodys in ["0::/\n", "4:memory:/x\n", "0::/../outside\n", "0::relative\n"] {
            assert_eq!(parse_membership(nobodys), None, "{nobodys}");
        }
    }
}
