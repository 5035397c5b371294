//! What the services may not do. Each line is a setting of the unit (systemd.exec(5)) and why it is as it
//! is; `docs/privileges.md` shows the same.

/// A setting of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Setting {
    /// Its name.
    pub(super) name: &'static str,
    /// Its value.
    pub(super) value: &'static str,
    /// Why, a fragment.
    pub(super) why: &'static str,
}

const fn setting(name: &'static str, value: &'static str, why: &'static str) -> Setting {
    Setting { name, value, why }
}

/// Of the daemon. What it starts inherits all of it but the devices, VMMs included.
pub(super) const DAEMON: &[Setting] = &[
    setting("NoNewPrivileges", "yes", "no setuid program helps to become somebody else"),
    setting("CapabilityBoundingSet", "", "none is needed"),
    setting("AmbientCapabilities", "", "none is needed"),
    setting("RestrictNamespaces", "yes", "most holes of kernels need a user namespace"),
    setting(
        "ProtectSystem",
        "full",
        "`/usr`, `/boot` and `/etc` are read only; repositories may be anywhere else",
    ),
    setting("ProtectControlGroups", "yes", "VMs are moved by the service manager"),
    setting("ProtectKernelTunables", "yes", "settings of the kernel are the helper's business"),
    setting("ProtectKernelModules", "yes", "not needed"),
    setting("ProtectKernelLogs", "yes", "not needed"),
    setting("ProtectClock", "yes", "not needed"),
    setting("ProtectHostname", "yes", "not needed"),
    setting("DevicePolicy", "closed", "no device but the next two, and those like `/dev/null`"),
    setting("DeviceAllow", "/dev/kvm rw", "VMMs, until they are in a scope of their own"),
    setting("DeviceAllow", "/dev/net/tun rw", "VMMs' network cards, likewise"),
    setting(
        "RestrictAddressFamilies",
        "AF_UNIX AF_INET AF_INET6 AF_NETLINK",
        "registries, ports of VMs; addresses of the host",
    ),
    setting("RestrictRealtime", "yes", "not needed"),
    setting("RestrictSUIDSGID", "yes", "no setuid file is made"),
    setting("LockPersonality", "yes", "not needed"),
    setting("SystemCallArchitectures", "native", "other calls are checked less"),
    setting(
        "SystemCallFilter",
        "~@clock @cpu-emulation @debug @module @mount @obsolete @raw-io @reboot @swap",
        "what no daemon and no VMM calls",
    ),
    setting("SystemCallErrorNumber", "EPERM", "a program that tries hears no"),
    setting("KeyringMode", "private", "keys of others are none of its business"),
    setting("UMask", "0077", "files are the owner's alone from birth"),
];

/// Of the helper, which is root.
pub(super) const HELPER: &[Setting] = &[
    setting("NoNewPrivileges", "yes", "what it starts has no more than it has"),
    setting(
        "CapabilityBoundingSet",
        "CAP_NET_ADMIN CAP_NET_BIND_SERVICE",
        "interfaces, rules, routes; port 53",
    ),
    setting("AmbientCapabilities", "", "none is needed"),
    setting("RestrictNamespaces", "yes", "it works in the host's network"),
    setting("ProtectSystem", "strict", "it writes no file but settings of the network"),
    setting("ProtectHome", "yes", "not needed"),
    setting("PrivateTmp", "yes", "not needed"),
    setting("ProtectControlGroups", "yes", "VMs are moved by the service manager"),
    setting("ProtectKernelModules", "yes", "the kernel loads what rules need itself"),
    setting("ProtectKernelLogs", "yes", "not needed"),
    setting("ProtectClock", "yes", "not needed"),
    setting("ProtectHostname", "yes", "not needed"),
    setting("DevicePolicy", "closed", "no device but the next, and those like `/dev/null`"),
    setting("DeviceAllow", "/dev/net/tun rw", "making taps"),
    setting(
        "RestrictAddressFamilies",
        "AF_UNIX AF_INET AF_NETLINK",
        "requests, the name server's port, interfaces",
    ),
    setting("RestrictRealtime", "yes", "not needed"),
    setting("RestrictSUIDSGID", "yes", "not needed"),
    setting("LockPersonality", "yes", "not needed"),
    setting("MemoryDenyWriteExecute", "yes", "it makes no code"),
    setting("SystemCallArchitectures", "native", "other calls are checked less"),
    setting("SystemCallFilter", "@system-service", "what services call"),
    setting("SystemCallFilter", "~@privileged @resources", "but for these"),
    setting("SystemCallFilter", "capset", "giving up capabilities"),
    setting("SystemCallErrorNumber", "EPERM", "a program that tries hears no"),
    setting("KeyringMode", "private", "keys of others are none of its business"),
    setting("UMask", "0077", "it makes no file for others"),
];

/// Of builds. What filters system calls would keep setuid programs from being that, and what hides
/// parts of `/proc` keeps a build from having one of its own.
pub(super) const BUILDER: &[Setting] = &[
    setting(
        "CapabilityBoundingSet",
        "CAP_DAC_OVERRIDE CAP_SETGID CAP_SETUID CAP_SYS_ADMIN",
        "none of its own; what the setuid programs `newuidmap` and `newgidmap` need to set up a user namespace",
    ),
    setting("AmbientCapabilities", "", "none is needed"),
    setting("ProtectSystem", "full", "`/usr`, `/boot` and `/etc` are read only"),
    setting("DevicePolicy", "closed", "no device but those like `/dev/null`"),
    setting("KeyringMode", "private", "keys of others are none of its business"),
    setting("UMask", "0077", "files are the owner's alone from birth"),
];

/// The settings as lines of a unit.
pub(super) fn render(settings: &[Setting]) -> String {
    settings.iter().map(|setting| format!("{}={}\n", setting.name, setting.value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_what_the_units_say() {
        let page = include_str!("../../../../docs/privileges.md");
        let units = [
            ("bangerd.service", DAEMON),
            ("banger-helper@.service", HELPER),
            ("banger-build@.service", BUILDER),
        ];
        for (unit, settings) in units {
            let rows: String = settings
                .iter()
                .map(|Setting { name, value, why }| match *value {
                    "" => format!("| `{name}=` | {why} |\n"),
                    value => format!("| `{name}={value}` | {why} |\n"),
                })
                .collect();
            let table = format!("### `{unit}`\n\n| setting | why |\n|---|---|\n{rows}\n");
            assert!(page.contains(&table), "docs/privileges.md lacks:\n{table}");
        }
    }
}
