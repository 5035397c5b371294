//! What a kernel must have for a VM to come up, checked against its configuration.

use std::collections::BTreeMap;

/// Options that are written down about a kernel, besides the ones it must have: what people ask
/// about when something in a guest does not work.
const NOTED: [&str; 18] = [
    "BRIDGE",
    "CGROUPS",
    "CGROUP_BPF",
    "EXT4_FS_POSIX_ACL",
    "EXT4_FS_SECURITY",
    "FUSE_FS",
    "HW_RANDOM_VIRTIO",
    "KVM",
    "MEMCG",
    "NET_NS",
    "NF_TABLES",
    "PVH",
    "SECCOMP_FILTER",
    "USER_NS",
    "VETH",
    "VIRTIO_NET",
    "VIRTIO_VSOCKETS",
    "WIREGUARD",
];

/// What the agent and the disks cannot do without; each is one option or a choice of several.
const NEEDED: [(&[&str], &str); 10] = [
    (&["BLK_DEV_INITRD"], "start the agent"),
    (&["DEVTMPFS"], "have device nodes"),
    (&["TMPFS"], "have a `/run`"),
    (&["UNIX"], "run systemd"),
    (&["INET"], "have a network"),
    (&["EXT4_FS"], "read its disks"),
    (&["OVERLAY_FS"], "write over its image"),
    (&["VIRTIO_MMIO", "VIRTIO_PCI"], "find its devices"),
    (&["VIRTIO_BLK"], "read its disks"),
    (&["VIRTIO_CONSOLE", "VIRTIO_VSOCKETS"], "be spoken to"),
];

/// Options of a configuration by name, without `CONFIG_`: `y` or `m`.
pub(crate) type Features = BTreeMap<String, char>;

/// Reads the options that matter from a kernel configuration.
pub(crate) fn parse_config(config: &str) -> Features {
    config
        .lines()
        .filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('='))
        .filter_map(|(name, value)| match value {
            "y" => Some((name, 'y')),
            "m" => Some((name, 'm')),
            _ => None,
        })
        .filter(|(name, _)| matters(name))
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn matters(name: &str) -> bool {
    NOTED.contains(&name) || NEEDED.iter().any(|(options, _)| options.contains(&name))
}

/// What a kernel with `features` lacks, one fragment each; `modules` says whether it comes with
/// modules. No features at all is a kernel that nobody described, which may have everything.
pub(crate) fn find_lacking(features: &Features, modules: bool) -> Vec<String> {
    if features.is_empty() {
        return Vec::new();
    }
    let has = |option: &&str| match features.get(*option) {
        Some('y') => true,
        Some('m') => modules,
        _ => false,
    };
    NEEDED
        .iter()
        .filter(|(options, _)| !options.iter().any(&has))
        .map(|(options, why)| format!("CONFIG_{} (to {why})", options.join(" or CONFIG_")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# CONFIG_KVM is not set\n\
        CONFIG_BLK_DEV_INITRD=y\nCONFIG_DEVTMPFS=y\nCONFIG_TMPFS=y\nCONFIG_UNIX=y\n\
        CONFIG_INET=y\nCONFIG_EXT4_FS=y\nCONFIG_OVERLAY_FS=m\nCONFIG_VIRTIO_PCI=m\n\
        CONFIG_VIRTIO_BLK=m\nCONFIG_VIRTIO_CONSOLE=m\nCONFIG_LOG_BUF_SHIFT=17\nCONFIG_FOO=y\n";

    #[test]
    fn only_what_matters_is_kept() {
        let features = parse_config(GOOD);
        assert_eq!(features.get("OVERLAY_FS"), Some(&'m'));
        assert!(!features.contains_key("FOO") && !features.contains_key("LOG_BUF_SHIFT"));
    }

    #[test]
    fn modules_count_when_they_are_there() {
        let features = parse_config(GOOD);
        assert!(find_lacking(&features, true).is_empty());
        let lacking = find_lacking(&features, false);
        assert_eq!(lacking[0], "CONFIG_OVERLAY_FS (to write over its image)");
        assert_eq!(lacking[1], "CONFIG_VIRTIO_MMIO or CONFIG_VIRTIO_PCI (to find its devices)");
        assert!(find_lacking(&Features::new(), false).is_empty());
    }
}
