//! The image of a host: made once from the distribution's packages, and again when this file has
//! changed.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use crate::{Home, shared};

/// What a host has besides the essential packages.
const PACKAGES: [&str; 20] = [
    // The system.
    "systemd",
    "systemd-sysv",
    "libpam-systemd",
    "dbus",
    "udev",
    "kmod",
    "procps",
    "sudo",
    "iproute2",
    // Names, as desktops and servers of this decade have them.
    "systemd-resolved",
    "libnss-resolve",
    // What banger needs.
    "qemu-system-x86",
    "nftables",
    "passt",
    "uidmap",
    "git",
    "openssh-client",
    // What its installer needs.
    "openssl",
    // What the tests ask and serve with.
    "curl",
    "busybox",
];

/// Nothing that differs between hosts; the resolver is the system's own, though the agent puts a file
/// of its own there at each boot; and KVM is there before any service, as on hosts where nothing holds
/// udev back.
const HOOK: &str = "\
rm -f \"$1\"/etc/hostname \"$1\"/etc/resolv.conf
: >\"$1\"/etc/machine-id
: >\"$1\"/etc/fstab
echo 'L+ /etc/resolv.conf - - - - ../run/systemd/resolve/stub-resolv.conf' >\"$1\"/etc/tmpfiles.d/names.conf
printf '[Unit]\\nDefaultDependencies=no\\nAfter=systemd-udevd.service\\nBefore=sysinit.target\\n[Service]\\nType=oneshot\\n\
ExecStart=-/sbin/modprobe -a kvm_amd kvm_intel\\n[Install]\\nWantedBy=sysinit.target\\n' \
>\"$1\"/etc/systemd/system/kvm.service
chroot \"$1\" systemctl --quiet enable kvm.service
";

/// The name of the image in the homes that share theirs, where it is now.
///
/// # Panics
/// When it cannot be made: a tool is missing, the disk is full, there is no package mirror.
pub(super) fn ensure(home: &Home) -> String {
    let digest = Sha256::digest(include_bytes!("image.rs"));
    let digits: String = digest[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let name = format!("host-{digits}");
    let lock = File::create(shared::data_dir().join("host.lock")).expect("lock");
    // Tests run side by side.
    flock(&lock, FlockOperation::LockExclusive).expect("lock");
    if home.banger(["image", "show", &name]).code() != 0 {
        make(home, &name);
    }
    name
}

fn make(home: &Home, name: &str) {
    let tar = home.path().join("host.tar");
    let output = Command::new("mmdebstrap")
        .args(["--variant=minbase", "--quiet", "--dpkgopt=force-unsafe-io"])
        .args(
            ["doc", "man", "locale"]
                .map(|kind| format!("--dpkgopt=path-exclude=/usr/share/{kind}/*")),
        )
        .arg(format!("--include={}", PACKAGES.join(",")))
        .arg(format!("--customize-hook={HOOK}"))
        .arg("bookworm")
        .arg(&tar)
        .stdin(Stdio::null())
        .output()
        .expect("mmdebstrap");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = tar.to_str().expect("path");
    home.banger(["image", "import", "--name", name, path]).expect_code(0);
    fs::remove_file(tar).expect("an archive that is an image now");
}
