//! Taps: one for each VM, a port of the bridge that reaches no other port.
//!
//! A tap is banger's when its name is [`TAP_PREFIX`](banger_proto::helper::TAP_PREFIX) and an id. It can be
//! one of another user's or another program's all the same, so what it is must fit, too.

use std::io;

use banger_proto::VmId;
use banger_proto::helper::tap_name;
use fs_err::os::unix::fs::OpenOptionsExt;
use rustix::fs::OFlags;

use super::{OperationError, foreign, link_error, look_for_bridge};
use crate::netlink::{Link, LinkKind, Netlink, Tap};
use crate::place::Place;
use crate::sys;
use crate::sysctl::Sysctl;

/// The kernel's way to taps.
const DEVICE: &str = "/dev/net/tun";

/// Makes the VM's tap as it must be. One that was made here goes again when it cannot be completed.
pub(super) fn ensure(
    place: &Place,
    netlink: &mut Netlink,
    vm: &VmId,
) -> Result<(), OperationError> {
    let name = tap_name(vm);
    let bridge = look_for_bridge(place, netlink)?
        .ok_or_else(|| OperationError::NoBridge(place.bridge.to_string()))?;
    let there = netlink.link(&name).map_err(OperationError::Look)?;
    let made = there.is_none();
    let tap = match there {
        Some(link) if is_ours(place, &link) => link,
        Some(link) => return Err(foreign(&link, "this user's tap")),
        None => {
            make(place, &name)?;
            netlink
                .link(&name)
                .map_err(OperationError::Look)?
                .ok_or_else(|| failed(&name, io::ErrorKind::NotFound.into()))?
        }
    };
    let done = complete(place, netlink, &bridge, &tap);
    if done.is_err() && made {
        // What went wrong first is what is told.
        let _ = netlink.remove_link(tap.index);
    }
    done
}

/// Removes the VM's tap, whoever may attach to it.
pub(super) fn remove(netlink: &mut Netlink, vm: &VmId) -> Result<(), OperationError> {
    let name = tap_name(vm);
    match netlink.link(&name).map_err(OperationError::Look)? {
        None => Ok(()),
        Some(link) if matches!(link.kind, LinkKind::Tap(_)) => {
            netlink.remove_link(link.index).map_err(link_error("remove tap", &name))
        }
        Some(link) => Err(foreign(&link, "a tap")),
    }
}

fn is_ours(place: &Place, link: &Link) -> bool {
    let wanted =
        Tap { ethernet: true, owner: Some(place.tap_owner), vnet_header: true, persistent: true };
    link.kind == LinkKind::Tap(wanted)
}

fn make(place: &Place, name: &str) -> Result<(), OperationError> {
    let device = fs_err::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(DEVICE)
        .map_err(|source| failed(name, source))?;
    sys::make_tap(device.file(), name, place.tap_owner).map_err(|source| failed(name, source))
}

fn failed(name: &str, source: io::Error) -> OperationError {
    let hint = match source.kind() {
        io::ErrorKind::NotFound => {
            ": the kernel's module `tun` is not loaded, or the container has no such device"
        }
        io::ErrorKind::PermissionDenied => {
            ": this user may not use the device (it is usually open to everybody, mode 0666)"
        }
        _ => "",
    };
    OperationError::Tap { name: name.to_owned(), hint, source }
}

/// A port is isolated before it is up, so that no frame goes astray.
fn complete(
    place: &Place,
    netlink: &mut Netlink,
    bridge: &Link,
    tap: &Link,
) -> Result<(), OperationError> {
    let name = tap.name.as_str();
    let mtu = place.uplink.mtu();
    if tap.mtu != mtu {
        netlink.set_mtu(tap.index, mtu).map_err(link_error("set the MTU of", name))?;
    }
    Sysctl::NoIpv6(name)
        .ensure()
        .map_err(|source| OperationError::Setting { name: name.to_owned(), source })?;
    if tap.controller != Some(bridge.index) {
        netlink.set_bridge(tap.index, bridge.index).map_err(link_error("attach", name))?;
    }
    netlink.set_isolated(tap.index).map_err(link_error("isolate", name))?;
    if !tap.up {
        netlink.set_up(tap.index).map_err(link_error("switch on", name))?;
    }
    Ok(())
}
