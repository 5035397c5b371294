//! The configuration that Firecracker boots from, rendered from a [`VmmSpec`]. Pure.
//!
//! Its parts are the bodies of the requests of its API, by which the tests hold them.

use std::path::Path;

use banger_proto::guest::cmdline;
use serde_json::{Value, json};

use crate::hypervisor::{DiskLimits, VmmSpec};

/// Port of the virtio socket for the guest link: the last of those at which only root can listen.
pub(super) const LINK_PORT: u32 = 1023;
/// Firecracker's name of the network card.
pub(super) const CARD_ID: &str = "net";
/// The guest's context id: each VMM has a virtio socket of its own, so all guests have the same. The
/// smaller ones have a meaning (virtio 1.2, 5.10.4).
const GUEST_CID: u32 = 3;

/// Name of the virtio socket in the VM's runtime directory, in the directory that is the VMM's own.
pub(super) const VSOCK_SOCKET: &str = "vmm/vsock.sock";

/// Why there is no configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RenderError {
    /// The configuration is JSON, so paths are text.
    #[error("path `{0}` is not UTF-8")]
    Path(String),
    /// The list of serials has commas between them.
    #[error("disk serial `{0}` has a comma or a space")]
    Serial(String),
}

/// Renders the configuration as JSON.
///
/// It runs in the VM's runtime directory, where its disks have links. So what it saves names nothing of this
/// VM's own, and another can go on from it. With `reporting` the guest tells of pages that it does not use
/// any more, and the host has them back.
pub(super) fn render_config(spec: &VmmSpec, reporting: bool) -> Result<String, RenderError> {
    let mut drives = Vec::new();
    for (place, disk) in spec.disks.iter().enumerate() {
        let mut drive = json!({
            "drive_id": render_drive_id(place),
            "path_on_host": render_drive_id(place),
            "is_root_device": false,
            "is_read_only": disk.read_only,
            // Flushes of the guest reach the host's disk; nobody flushes what is only read.
            "cache_type": if disk.read_only { "Unsafe" } else { "Writeback" },
        });
        if !spec.disk_limits.is_none() {
            drive["rate_limiter"] = render_limits(&spec.disk_limits);
        }
        drives.push(drive);
    }
    let mut config = json!({
        "boot-source": {
            "kernel_image_path": text(&spec.kernel)?,
            "initrd_path": text(&spec.initramfs)?,
            "boot_args": render_cmdline(spec)?,
        },
        "machine-config": { "vcpu_count": spec.vcpu, "mem_size_mib": spec.memory_mib },
        "drives": drives,
        "vsock": { "guest_cid": GUEST_CID, "uds_path": VSOCK_SOCKET },
        "entropy": {},
    });
    if let Some(card) = &spec.card {
        config["network-interfaces"] = json!([{
            "iface_id": CARD_ID,
            "host_dev_name": card.tap,
            "guest_mac": card.mac.to_string(),
        }]);
    }
    if reporting {
        // Never inflated.
        config["balloon"] =
            json!({ "amount_mib": 0, "deflate_on_oom": true, "free_page_reporting": true });
    }
    Ok(Value::to_string(&config))
}

/// A bucket for each limit that holds what may be used in a second, and is filled in as long.
fn render_limits(limits: &DiskLimits) -> Value {
    let bucket = |size: u64| json!({ "size": size, "refill_time": 1000 });
    let mut rendered = json!({});
    if let Some(bandwidth) = limits.bandwidth {
        rendered["bandwidth"] = bucket(bandwidth.bytes());
    }
    if let Some(iops) = limits.iops {
        rendered["ops"] = bucket(iops.into());
    }
    rendered
}

/// Firecracker's name of the disk at this place, and that of the link to it.
pub(super) fn render_drive_id(place: impl std::fmt::Display) -> String {
    format!("disk{place}")
}

/// The kernel's command line.
///
/// - There is neither a firmware nor a way to switch the machine off; it ends when the guest restarts it
///   by the keyboard controller (`reboot=k`), the only thing that this one can do.
/// - Disks have serials of Firecracker's own making.
fn render_cmdline(spec: &VmmSpec) -> Result<String, RenderError> {
    let mut serials = Vec::new();
    for disk in &spec.disks {
        if disk.serial.contains([',', ' ']) {
            return Err(RenderError::Serial(disk.serial.clone()));
        }
        serials.push(&*disk.serial);
    }
    let machine =
        ["console=ttyS0", "reboot=k", "pci=off", "i8042.noaux", "i8042.nomux", "i8042.dumbkbd"];
    let words = machine.into_iter().map(ToOwned::to_owned);
    let words = words.chain(spec.cmdline.iter().cloned()).chain([
        format!("{}={LINK_PORT}", cmdline::VSOCK),
        format!("{}={}", cmdline::DISKS, serials.join(",")),
        format!("{}=restart", cmdline::POWER_OFF),
    ]);
    Ok(words.collect::<Vec<_>>().join(" "))
}

fn text(path: &Path) -> Result<&str, RenderError> {
    path.to_str().ok_or_else(|| RenderError::Path(path.to_string_lossy().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::fixture::spec;

    fn render(spec: &VmmSpec) -> Result<Value, RenderError> {
        render_config(spec, true).map(|text| text.parse().unwrap())
    }

    #[test]
    fn a_whole_vm() {
        let config = render(&spec()).unwrap();
        insta::assert_snapshot!(format!("{config:#}"));
        if let Some(description) = banger_testkit::FirecrackerApi::load() {
            description.check_config(&config).unwrap();
        }
    }

    #[test]
    fn a_vm_without_a_card_has_no_interfaces() {
        let config = render(&VmmSpec { card: None, ..spec() }).unwrap();
        assert_eq!(config.get("network-interfaces"), None);
    }

    #[test]
    fn disks_without_limits_have_none() {
        let with = |disk_limits| render(&VmmSpec { disk_limits, ..spec() }).unwrap();
        let config = with(DiskLimits::default());
        assert_eq!(config["drives"][1].get("rate_limiter"), None);
        let config = with(DiskLimits { iops: Some(7), bandwidth: None });
        let seven = json!({ "ops": { "size": 7, "refill_time": 1000 } });
        assert_eq!(config["drives"][1]["rate_limiter"], seven);
    }

    #[test]
    fn one_that_cannot_be_told_of_free_pages_has_no_balloon() {
        let config: Value = render_config(&spec(), false).unwrap().parse().unwrap();
        assert_eq!(config.get("balloon"), None);
    }

    #[test]
    fn refuses_what_cannot_be_said() {
        let mut bad = spec();
        bad.disks[0].serial = "a,b".to_owned();
        assert_eq!(render(&bad), Err(RenderError::Serial("a,b".to_owned())));
        let mut bad = spec();
        bad.kernel =
            <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"/k/\xff").into();
        assert_eq!(render(&bad), Err(RenderError::Path("/k/\u{fffd}".to_owned())));
    }
}
