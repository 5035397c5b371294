//! Parts of systemd that a VM of this kind pays for and gets nothing from.
//!
//! They are masked by links to `/dev/null` in `/run`, gone with the boot: image and writable
//! disk stay as they are, `systemctl unmask --runtime` brings one back, and a unit that the user
//! put in `/etc` wins. Masking a name that an image lacks does nothing.
//!
//! Deliberately absent: `systemd-random-seed` (keeps randomness over boots) and
//! `systemd-sysusers` (packages' users come from it on some distributions).

/// Units.
pub(super) const UNITS: &[&str] = &[
    // Upkeep of long-lived machines.
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "man-db.timer",
    // Nobody sits at a console.
    "getty@tty1.service",
    "getty-static.service",
    "console-getty.service",
    "serial-getty@ttyS0.service",
    "serial-getty@hvc0.service",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-vconsole-setup.service",
    // Modules come with the initramfs.
    "kmod-static-nodes.service",
    "modprobe@.service",
    "systemd-modules-load.service",
    // File systems few programs use; mounting one by hand works.
    "proc-sys-fs-binfmt_misc.automount",
    "proc-sys-fs-binfmt_misc.mount",
    "systemd-binfmt.service",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    // Done by the agent, or for disks and layouts that are not here.
    "systemd-firstboot.service",
    "systemd-fsckd.service",
    "systemd-fsckd.socket",
    "systemd-machine-id-commit.service",
    "systemd-pstore.service",
    "systemd-remount-fs.service",
    "systemd-repart.service",
    "systemd-sysext.service",
    "systemd-confext.service",
    // Caches and records of the boot itself.
    "systemd-hwdb-update.service",
    "systemd-journal-flush.service",
    "systemd-update-done.service",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-initctl.service",
    "systemd-initctl.socket",
    // Nothing here takes part in the network's being up.
    "NetworkManager-wait-online.service",
    "ifupdown-wait-online.service",
    "systemd-networkd-wait-online.service",
    // About 3 s of a boot under emulation; the agent triggers the devices afterwards.
    "systemd-udev-trigger.service",
];

/// Units that would take the network card for their own and cannot be told otherwise in `/run`;
/// masked where the agent has set it up.
pub(super) const CARD_UNITS: &[&str] = &[
    "connman.service",
    "dhclient@eth0.service",
    "dhcpcd.service",
    "dhcpcd@eth0.service",
    "network.service",
    "wicked.service",
    "wickedd.service",
];

/// Generators.
pub(super) const GENERATORS: &[&str] = &[
    "systemd-bless-boot-generator",
    "systemd-cryptsetup-generator",
    "systemd-getty-generator",
    "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-integritysetup-generator",
    "systemd-run-generator",
    "systemd-system-update-generator",
    "systemd-veritysetup-generator",
];
