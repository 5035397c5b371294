//! What is done to the network: each can be done again, looks before it acts, and takes back what it has
//! made when it cannot be completed.
//!
//! They get what they work with from a [`Checked`](crate::request::Checked) request and the
//! [`Place`], and know nothing of who asks.

mod bridge;
mod listen;
mod names;
mod observe;
mod scope;
mod subnet;
mod tap;

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use banger_proto::helper::{Reply, Request, Rules};
use banger_proto::{MacAddress, Subnet};

use crate::keeper::Keeper;
use crate::netlink::{Link, LinkKind, Netlink, NetlinkError};
use crate::peer::Peer;
use crate::place::{Place, Uplink};
use crate::program::ProgramError;
use crate::request::Checked;
use crate::sysctl::{Sysctl, SysctlError};

/// Why an operation did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// Something else has the name.
    #[error("interface `{name}` is foreign: it is {there}, not {wanted}")]
    Foreign {
        /// The name.
        name: String,
        /// What it is.
        there: String,
        /// What it would be if it were banger's.
        wanted: &'static str,
    },
    /// What is to be attached has nothing to be attached to.
    #[error("bridge `{0}` is missing")]
    NoBridge(String),
    /// What is to be listened at is not there.
    #[error("bridge `{bridge}` does not have the address {gateway}")]
    NoGateway {
        /// The bridge.
        bridge: String,
        /// The address.
        gateway: Ipv4Addr,
    },
    /// The host has something in that network already.
    #[error(
        "network `{subnet}` cannot be that of VMs: this host has {network} at interface `{interface}`; \
         configure one that is free, for example subnet = \"10.77.0.0/24\""
    )]
    Taken {
        /// What was asked for.
        subnet: Subnet,
        /// The interface that has it.
        interface: String,
        /// What it has there: a network, or the next router.
        network: String,
    },
    /// A step that the kernel refuses.
    #[error("cannot {step} `{name}`")]
    Link {
        /// What was to be done.
        step: &'static str,
        /// To which interface.
        name: String,
        /// Why not.
        source: NetlinkError,
    },
    /// The kernel's list of routes.
    #[error("cannot look at the routes")]
    Routes(#[source] io::Error),
    /// The kernel cannot be asked.
    #[error("cannot look at the interfaces")]
    Look(#[source] NetlinkError),
    /// A tap could not be made.
    #[error("cannot make tap `{name}`{hint}")]
    Tap {
        /// Its name.
        name: String,
        /// What is usually the cause, after a colon; or nothing.
        hint: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A setting of the kernel's.
    #[error("cannot prepare `{name}`")]
    Setting {
        /// Which interface it is for.
        name: String,
        /// Why not.
        source: SysctlError,
    },
    /// The rules.
    #[error("cannot {0} the rules")]
    Rules(&'static str, #[source] ProgramError),
    /// Changes of the rules by others.
    #[error("cannot watch the rules")]
    Watch(#[source] io::Error),
    /// The host's resolver.
    #[error("cannot tell the host's resolver where names of VMs are answered")]
    Resolver(#[source] ProgramError),
    /// Whoever has connected has ended, or is not the user's alone.
    #[error("process {0}, which has connected, is not there as the owner's any more")]
    NoProcess(u32),
    /// Whoever has connected cannot be looked at.
    #[error("cannot look at process {process}, which has connected")]
    Process {
        /// Its number.
        process: u32,
        /// Why not.
        source: io::Error,
    },
    /// The service manager.
    #[error("cannot make the scope `{scope}`")]
    Scope {
        /// Which.
        scope: String,
        /// Why not.
        source: ProgramError,
    },
    /// The service manager says that it is done, and it is not.
    #[error("process {process} is not in the scope `{scope}`, which the service manager has made")]
    NotMoved {
        /// Which process.
        process: u32,
        /// Which scope.
        scope: String,
    },
    /// What only the host's own network and service manager have.
    #[error("a network of the user's own has no {0}")]
    NotHere(&'static str),
    /// A socket.
    #[error("cannot listen at {address} ({protocol})")]
    Listen {
        /// Where.
        address: std::net::SocketAddrV4,
        /// `tcp` or `udp`.
        protocol: &'static str,
        /// Why not.
        source: rustix::io::Errno,
    },
}

/// Executes a request: the reply, and the descriptors that go with it. `peer` is who asks, where that matters;
/// rules are loaded by `keeper`.
#[must_use]
pub fn execute(
    place: &Place,
    peer: Option<Peer>,
    keeper: &mut Keeper,
    checked: &Checked,
) -> (Reply, Vec<OwnedFd>) {
    let done = Netlink::open()
        .map_err(OperationError::Look)
        .and_then(|mut netlink| dispatch(place, peer, keeper, &mut netlink, checked.request()));
    done.unwrap_or_else(|error| {
        let causes = crate::causes(&error);
        (Reply::Failed { reason: error.to_string(), causes }, Vec::new())
    })
}

fn dispatch(
    place: &Place,
    peer: Option<Peer>,
    keeper: &mut Keeper,
    netlink: &mut Netlink,
    request: &Request,
) -> Result<(Reply, Vec<OwnedFd>), OperationError> {
    let mut descriptors = Vec::new();
    match request {
        Request::Observe {} => {
            return Ok((Reply::Observed(observe::observe(place, netlink)?), descriptors));
        }
        Request::EnsureBridge { subnet } => bridge::ensure(place, netlink, *subnet)?,
        Request::RemoveBridge {} => bridge::remove(place, netlink)?,
        Request::EnsureTap { vm } => tap::ensure(place, netlink, vm)?,
        Request::RemoveTap { vm } => tap::remove(netlink, vm)?,
        Request::ApplyRules(rules) => apply(place, keeper, netlink, rules)?,
        Request::RevertRules {} => {
            keeper.remove().map_err(|error| OperationError::Rules("remove", error))?;
        }
        Request::ListenDns { subnet } => descriptors.extend(listen::dns(place, netlink, *subnet)?),
        Request::ListenTcp { subnet, port } => {
            descriptors.push(listen::tcp(place, netlink, *subnet, *port)?);
        }
        Request::RouteNames { port } => names::route(place, netlink, *port)?,
        Request::UnrouteNames {} => names::unroute(place, netlink)?,
        Request::EnterScope { vm, memory } => scope::enter(peer, vm, *memory)?,
    }
    Ok((Reply::Done {}, descriptors))
}

/// Loads the rules; then packets may go where those let them.
fn apply(
    place: &Place,
    keeper: &mut Keeper,
    netlink: &mut Netlink,
    rules: &Rules,
) -> Result<(), OperationError> {
    subnet::require_bridges(place, netlink, rules.subnet)?;
    if place.uplink == Uplink::Host {
        keeper.watch().map_err(OperationError::Watch)?;
    }
    keeper.load(place, rules).map_err(|error| OperationError::Rules("load", error))?;
    // In the host this is everybody's: it stays as it is until a guest needs it, for answers come in by
    // another interface than the bridge.
    if place.uplink == Uplink::Host && rules.guests.iter().any(|guest| guest.nat) {
        let name = place.bridge.to_string();
        let done = Sysctl::Forward.ensure();
        done.map_err(|source| OperationError::Setting { name, source })?;
    }
    Ok(())
}

/// What `step` did to the interface `name`, as an error that says so.
fn link_error<'a>(
    step: &'static str,
    name: &'a str,
) -> impl FnOnce(NetlinkError) -> OperationError + 'a {
    move |source| OperationError::Link { step, name: name.to_owned(), source }
}

/// The bridge, if there is one. In the host, others may have one of that name: banger's is known by its card,
/// which it has from its first moment.
fn look_for_bridge(place: &Place, netlink: &mut Netlink) -> Result<Option<Link>, OperationError> {
    let link = netlink.link(place.bridge.as_str()).map_err(OperationError::Look)?;
    match link {
        Some(link) if link.kind != LinkKind::Bridge => Err(foreign(&link, "a bridge")),
        Some(link) if place.uplink == Uplink::Host && !has_gateways_card(&link) => {
            Err(foreign(&link, "a bridge that banger has made"))
        }
        link => Ok(link),
    }
}

/// Whether the card's address is that of a gateway of VMs.
fn has_gateways_card(link: &Link) -> bool {
    let gateway = link.mac.last_chunk().map(|address: &[u8; 4]| Ipv4Addr::from(*address));
    gateway.is_some_and(|gateway| MacAddress::of_gateway(gateway).bytes() == *link.mac)
}

fn foreign(link: &Link, wanted: &'static str) -> OperationError {
    let there = match &link.kind {
        LinkKind::Loopback => "the loopback".to_owned(),
        LinkKind::Bridge => "a bridge".to_owned(),
        LinkKind::Tap(tap) => format!("another kind of tap ({tap:?})"),
        LinkKind::Other(kind) if kind.is_empty() => "a network card".to_owned(),
        LinkKind::Other(kind) => format!("of kind {kind}"),
    };
    OperationError::Foreign { name: link.name.clone(), there, wanted }
}
