//! What a kernel must have for a VM to come up, checked against its configuration.
//!
//! What that is depends on the machine that the VMM offers: where its devices are found, how the
//! kernel is entered, and what the guest link is.

use std::collections::BTreeMap;

use banger_rootfs::modules::WANTED;

use crate::hypervisor::GuestMachine;
use GuestMachine::{Firecracker, Microvm, Q35};

/// Options that are written down about a kernel, besides the ones it must have: what people ask
/// about when something in a guest does not work.
const NOTED: [&str; 19] = [
    "BRIDGE",
    "CGROUPS",
    "CGROUP_BPF",
    "EXT4_FS_POSIX_ACL",
    "EXT4_FS_SECURITY",
    "FUSE_FS",
    "HW_RANDOM",
    "KVM",
    "MEMCG",
    "NETFILTER_XT_MATCH_ADDRTYPE",
    "NET_NS",
    "NF_TABLES",
    "SECCOMP_FILTER",
    "SERIAL_8250_CONSOLE",
    "USER_NS",
    "VETH",
    "VIRTIO_FS",
    "VSOCKETS",
    "WIREGUARD",
];

/// Something that a VM cannot do without.
struct Need {
    /// One of these options is enough.
    any_of: &'static [&'static str],
    /// What for: `to …`.
    why: &'static str,
    /// The machines that need it.
    on: &'static [GuestMachine],
}

const EVERYWHERE: &[GuestMachine] = &[Microvm, Q35, Firecracker];
const QEMU: &[GuestMachine] = &[Microvm, Q35];

const fn need(
    any_of: &'static [&'static str],
    why: &'static str,
    on: &'static [GuestMachine],
) -> Need {
    Need { any_of, why, on }
}

/// In the order in which a boot meets them. How QEMU's machines are found: `hw/i386/microvm.c`
/// (ACPI tells where virtio-mmio is, unless told otherwise) and `hw/i386/x86-common.c` (an ELF kernel
/// is entered by its PVH note); Firecracker's: its `docs/kernel-policy.md`.
const NEEDED: &[Need] = &[
    need(&["PVH"], "be started by QEMU", QEMU),
    need(&["BLK_DEV_INITRD"], "start the agent", EVERYWHERE),
    need(&["BINFMT_ELF"], "run programs", EVERYWHERE),
    need(&["DEVTMPFS"], "have device nodes", EVERYWHERE),
    need(&["PROC_FS"], "have a `/proc`", EVERYWHERE),
    need(&["SYSFS"], "have a `/sys`", EVERYWHERE),
    need(&["TMPFS"], "have a `/run`", EVERYWHERE),
    need(&["TTY"], "have terminals", EVERYWHERE),
    need(&["UNIX"], "run systemd", EVERYWHERE),
    need(&["INET"], "have a network", EVERYWHERE),
    need(&["ACPI"], "find the devices of `microvm`", &[Microvm]),
    need(&["VIRTIO_MMIO"], "reach its devices", &[Microvm, Firecracker]),
    need(&["ACPI", "VIRTIO_MMIO_CMDLINE_DEVICES"], "find its devices", &[Firecracker]),
    need(&["PCI"], "find the devices of `q35`", &[Q35]),
    need(&["VIRTIO_PCI"], "reach its devices", &[Q35]),
    need(&["VIRTIO_BLK"], "read its disks", EVERYWHERE),
    need(&["EXT4_FS"], "read its file systems", EVERYWHERE),
    need(&["OVERLAY_FS"], "write over its image", EVERYWHERE),
    need(&["VIRTIO_CONSOLE"], "be spoken to", QEMU),
    need(&["VIRTIO_VSOCKETS"], "be spoken to", &[Firecracker]),
];

/// Options of a configuration by name, without `CONFIG_`: `y`, `m`, or `n` for one that is not set.
/// What is not in here nobody looked at: another version of this program may have written it down,
/// to which other options mattered.
pub(crate) type Features = BTreeMap<String, char>;

/// Reads the options that matter from a kernel configuration; `None` for a text that is none.
pub(crate) fn parse_config(config: &str) -> Option<Features> {
    let set: BTreeMap<&str, char> = config
        .lines()
        .filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('='))
        .filter_map(|(name, value)| match value {
            "y" => Some((name, 'y')),
            "m" => Some((name, 'm')),
            _ => None,
        })
        .collect();
    let value = |name: &str| set.get(name).copied().unwrap_or('n');
    let features = all_options().map(|name| (name.to_owned(), value(name)));
    (!set.is_empty()).then(|| features.collect())
}

/// The options that matter.
fn all_options() -> impl Iterator<Item = &'static str> {
    let needed = NEEDED.iter().flat_map(|need| need.any_of);
    let wanted = WANTED.iter().map(|wanted| wanted.option);
    NOTED.iter().chain(needed).copied().chain(wanted)
}

/// Names of the modules that a kernel with `features` needs to boot: what it has, and has not built
/// in. All of [`WANTED`] when nobody knows.
pub(crate) fn wanted_modules(features: &Features) -> Vec<&'static str> {
    let taken = WANTED
        .iter()
        .filter(|wanted| features.is_empty() || features.get(wanted.option) == Some(&'m'));
    taken.map(|wanted| wanted.name).collect()
}

/// Whether a kernel with `features` has anything as a module that it does not need to boot.
pub(crate) fn has_optional_modules(features: &Features) -> bool {
    let boots_with = |option: &str| WANTED.iter().any(|wanted| wanted.option == option);
    NOTED.iter().any(|option| features.get(*option) == Some(&'m') && !boots_with(option))
}

/// The modules that a kernel comes with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Modules<'a> {
    /// None.
    None,
    /// Some that nobody listed.
    Unlisted,
    /// These.
    Listed(&'a [String]),
}

impl Modules<'_> {
    /// Whether what `option` makes can be loaded.
    fn have(self, option: &str) -> bool {
        match self {
            Self::None => false,
            Self::Unlisted => true,
            Self::Listed(names) => WANTED
                .iter()
                .find(|wanted| wanted.option == option)
                .is_some_and(|wanted| names.iter().any(|name| name == wanted.name)),
        }
    }
}

/// What a kernel with `features` and `modules` lacks on `machine`, one fragment each. What nobody
/// looked at may be there.
pub(crate) fn find_lacking(
    features: &Features,
    modules: Modules<'_>,
    machine: GuestMachine,
) -> Vec<String> {
    let lacks = |option: &&str| match features.get(*option) {
        Some('m') => !modules.have(option),
        Some('y') | None => false,
        Some(_) => true,
    };
    let lacking =
        NEEDED.iter().filter(|need| need.on.contains(&machine) && need.any_of.iter().all(&lacks));
    lacking
        .map(|need| format!("CONFIG_{} (to {})", need.any_of.join(" or CONFIG_"), need.why))
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A configuration with all that a VM needs on `machine` and nothing else, the drivers as modules.
    pub(crate) fn good(machine: GuestMachine) -> String {
        let needed = NEEDED.iter().filter(|need| need.on.contains(&machine));
        let options = needed.map(|need| {
            let driver = WANTED.iter().any(|wanted| wanted.option == need.any_of[0]);
            format!("CONFIG_{}={}\n", need.any_of[0], if driver { 'm' } else { 'y' })
        });
        options.collect()
    }

    fn parse(config: &str) -> Features {
        parse_config(config).unwrap()
    }

    fn lacks(features: &Features, modules: Modules<'_>, machine: GuestMachine) -> Vec<String> {
        let lacking = find_lacking(features, modules, machine);
        lacking.iter().map(|text| text.split(' ').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn only_what_matters_is_kept() {
        let config = "# CONFIG_KVM is not set\nCONFIG_OVERLAY_FS=m\nCONFIG_LOG_BUF_SHIFT=17\n\
                      CONFIG_FOO=y\nCONFIG_VIRTIO_NET=m\nCONFIG_TTY=n\n";
        let features = parse(config);
        assert_eq!(features["OVERLAY_FS"], 'm');
        assert_eq!((features["KVM"], features["TTY"], features["EXT4_FS"]), ('n', 'n', 'n'));
        assert!(!features.contains_key("FOO") && !features.contains_key("LOG_BUF_SHIFT"));
        assert_eq!(parse_config("just text\n# CONFIG_KVM is not set\n"), None);
    }

    #[test]
    fn every_machine_has_its_own_needs() {
        for machine in [Microvm, Q35, Firecracker] {
            let features = parse(&good(machine));
            assert_eq!(lacks(&features, Modules::Unlisted, machine), [""; 0], "{machine:?}");
        }
        let of_q35 = parse(&good(Q35));
        assert_eq!(
            lacks(&of_q35, Modules::Unlisted, Microvm),
            ["CONFIG_ACPI", "CONFIG_VIRTIO_MMIO"]
        );
        assert_eq!(
            lacks(&of_q35, Modules::Unlisted, Firecracker),
            ["CONFIG_VIRTIO_MMIO", "CONFIG_ACPI", "CONFIG_VIRTIO_VSOCKETS"]
        );
        // QEMU's guest link is a serial port: sockets of the VMM do not replace it.
        assert_eq!(
            lacks(&parse(&good(Firecracker)), Modules::Unlisted, Microvm),
            ["CONFIG_PVH", "CONFIG_VIRTIO_CONSOLE"]
        );
    }

    #[test]
    fn a_module_counts_when_it_is_there() {
        let features = parse(&good(Microvm));
        let drivers = ["VIRTIO_MMIO", "VIRTIO_BLK", "EXT4_FS", "OVERLAY_FS", "VIRTIO_CONSOLE"]
            .map(|name| format!("CONFIG_{name}"));
        assert_eq!(lacks(&features, Modules::None, Microvm), drivers);
        let some = ["virtio_mmio", "virtio_blk", "ext4", "overlay"].map(str::to_owned);
        assert_eq!(lacks(&features, Modules::Listed(&some), Microvm), ["CONFIG_VIRTIO_CONSOLE"]);
        let text = &find_lacking(&features, Modules::Listed(&some), Microvm)[0];
        assert_eq!(text, "CONFIG_VIRTIO_CONSOLE (to be spoken to)");
    }

    #[test]
    fn what_nobody_looked_at_may_be_there() {
        assert!(find_lacking(&Features::new(), Modules::None, Microvm).is_empty());
        let older = Features::from([("EXT4_FS".into(), 'y'), ("OVERLAY_FS".into(), 'n')]);
        assert_eq!(lacks(&older, Modules::None, Microvm), ["CONFIG_OVERLAY_FS"]);
        assert_eq!(wanted_modules(&Features::new()).len(), WANTED.len());
        let features = Features::from([("EXT4_FS".into(), 'm'), ("VIRTIO_BLK".into(), 'y')]);
        assert_eq!(wanted_modules(&features), ["ext4"]);
        assert!(!has_optional_modules(&features));
        assert!(!has_optional_modules(&Features::from([("VSOCKETS".into(), 'm')])));
        assert!(has_optional_modules(&Features::from([("BRIDGE".into(), 'm')])));
    }
}
