//! What is done to the network: each can be done again, looks before it acts, and takes back what it has
//! made when it cannot be completed.
//!
//! They get what they work with from a [`Checked`](crate::request::Checked) request and the
//! [`Place`], and know nothing of who asks.

mod bridge;
mod listen;
mod observe;
mod tap;

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use banger_proto::helper::{Reply, Request};

use crate::netlink::{Link, LinkKind, Netlink, NetlinkError};
use crate::nft::{self, NftError};
use crate::place::Place;
use crate::request::Checked;
use crate::rules::{render_no_rules, render_rules};
use crate::sysctl::SysctlError;

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
    Rules(&'static str, #[source] NftError),
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

/// Executes a request: the reply, and the descriptors that go with it.
#[must_use]
pub fn execute(place: &Place, checked: &Checked) -> (Reply, Vec<OwnedFd>) {
    let done = Netlink::open()
        .map_err(OperationError::Look)
        .and_then(|mut netlink| dispatch(place, &mut netlink, checked.request()));
    done.unwrap_or_else(|error| {
        let causes = crate::causes(&error);
        (Reply::Failed { reason: error.to_string(), causes }, Vec::new())
    })
}

fn dispatch(
    place: &Place,
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
        Request::ApplyRules(rules) => nft::load(&render_rules(place, rules))
            .map_err(|error| OperationError::Rules("load", error))?,
        Request::RevertRules {} => {
            nft::load(&render_no_rules()).map_err(|error| OperationError::Rules("remove", error))?
        }
        Request::ListenDns { subnet } => descriptors.extend(listen::dns(place, netlink, *subnet)?),
        Request::ListenTcp { subnet, port } => {
            descriptors.push(listen::tcp(place, netlink, *subnet, *port)?);
        }
        Request::RouteNames { .. } | Request::UnrouteNames {} => {
            return Err(OperationError::NotHere("resolver"));
        }
        Request::EnterScope { .. } => return Err(OperationError::NotHere("scopes")),
    }
    Ok((Reply::Done {}, descriptors))
}

/// What `step` did to the interface `name`, as an error that says so.
fn link_error<'a>(
    step: &'static str,
    name: &'a str,
) -> impl FnOnce(NetlinkError) -> OperationError + 'a {
    move |source| OperationError::Link { step, name: name.to_owned(), source }
}

/// The bridge, if there is one.
fn look_for_bridge(place: &Place, netlink: &mut Netlink) -> Result<Option<Link>, OperationError> {
    let link = netlink.link(place.bridge.as_str()).map_err(OperationError::Look)?;
    match link {
        Some(link) if link.kind != LinkKind::Bridge => Err(foreign(&link, "a bridge")),
        link => Ok(link),
    }
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
