//! A VM for the tests of what renders one.

use banger_link::Magic;
use banger_proto::{ByteSize, VmId};

use super::{CardSpec, DiskLimits, DiskSpec, VmmSpec};

/// A VM with all that one can have; a path has what has to be escaped somewhere.
pub(super) fn spec() -> VmmSpec {
    let disk = |path: &str, serial: &str, read_only| DiskSpec {
        path: path.into(),
        serial: serial.into(),
        read_only,
    };
    VmmSpec {
        vm: VmId::from_random([1; 6]),
        kernel: "/k/vmlinux".into(),
        initramfs: "/c/i.cpio".into(),
        cmdline: vec!["quiet".into(), "panic=-1".into()],
        vcpu: 2,
        memory_mib: 512,
        disks: vec![
            disk("/images/\"a\",b.ext4", "base", true),
            disk("/vms/x/disk.ext4", "writable", false),
        ],
        disk_limits: DiskLimits { bandwidth: Some(ByteSize::from_mib(100)), iops: Some(2000) },
        link_magic: Magic::from_bytes([0; 16]),
        console_log: "/vms/x/console.log".into(),
        card: Some(CardSpec {
            tap: "bt-010101010101".into(),
            mac: "02:01:01:01:01:01".parse().unwrap(),
            entrance: vec!["/lib/helper".into(), "run".into(), "--".into()],
        }),
        saved: None,
    }
}
