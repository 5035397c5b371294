//! Names of VMs in the host's resolver, systemd-resolved: by the bridge, so that it forgets them with it.

use std::time::Duration;

use banger_proto::name::DOMAIN;

use super::{OperationError, look_for_bridge};
use crate::netlink::Netlink;
use crate::place::{Place, Uplink};
use crate::program::{Program, ProgramError};

/// How the resolver is told. It answers within milliseconds.
const RESOLVECTL: Program = Program {
    name: "resolvectl",
    package: "systemd-resolved (names of VMs can be routed to banger in other ways, too)",
    deadline: Some(Duration::from_secs(5)),
};

/// Has the resolver ask the daemon for names of VMs, and for no others.
pub(super) fn route(place: &Place, netlink: &mut Netlink, port: u16) -> Result<(), OperationError> {
    require_host(place)?;
    let bridge = place.bridge.as_str();
    if look_for_bridge(place, netlink)?.is_none() {
        return Err(OperationError::NoBridge(bridge.to_owned()));
    }
    // What it is not for comes first: at no moment is it asked for everything.
    let domain = format!("~{DOMAIN}");
    let server = format!("127.0.0.1:{port}");
    tell(&["domain", bridge, &domain])
        .and_then(|()| tell(&["default-route", bridge, "false"]))
        .and_then(|()| tell(&["dns", bridge, &server]))
        .map_err(OperationError::Resolver)
}

/// Has the resolver forget it. Without the bridge it has done so already.
pub(super) fn unroute(place: &Place, netlink: &mut Netlink) -> Result<(), OperationError> {
    require_host(place)?;
    if look_for_bridge(place, netlink)?.is_none() {
        return Ok(());
    }
    tell(&["revert", place.bridge.as_str()]).map_err(OperationError::Resolver)
}

fn require_host(place: &Place) -> Result<(), OperationError> {
    match place.uplink {
        Uplink::Host => Ok(()),
        Uplink::Own => Err(OperationError::NotHere("resolver")),
    }
}

fn tell(words: &[&str]) -> Result<(), ProgramError> {
    RESOLVECTL.run(words, "").map(drop)
}
