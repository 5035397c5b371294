//! Ports that programs in the guest listen at, and connections to them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Most listeners that an agent tells of: those at the lowest ports, if there are more.
pub const MAX_LISTENERS: usize = 1024;

/// What is spoken at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PortProtocol {
    /// TCP: a socket in state `LISTEN`.
    Tcp,
    /// UDP: a socket that is bound and connected to nobody.
    Udp,
}

/// A socket that takes connections or packets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortListener {
    /// What is spoken.
    pub protocol: PortProtocol,
    /// Address it is bound to; `0.0.0.0` or `::` for all.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Who has it; absent for the kernel, and where it cannot be told.
    pub process: Option<ListenerProcess>,
}

/// The process that has a listener: the one with the lowest id of those that do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ListenerProcess {
    /// Its id in the guest.
    pub pid: u32,
    /// Its name (`/proc/PID/comm`); not more than 15 bytes of whatever kind.
    pub name: String,
}

/// A listener came, went or changed hands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortChange {
    /// It is there; in the place of the one of the same protocol, address and port, if there was one.
    Opened(PortListener),
    /// It is there no more; its process is absent.
    Closed(PortListener),
    /// Everything that was there when it was asked for has been told.
    Settled,
}

/// Asks for a TCP connection to a port of the guest. Where nobody listens it is refused with
/// `not_found`.
///
/// A connection of which one direction has ended and the other carries nothing for two minutes is
/// ended by the agent; one with both directions open may be silent for as long as it likes. What
/// breaks breaks the stream: no end of a direction is told that was not spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardRequest {
    /// The port. One who listens at 127.0.0.1, or at all addresses, takes the connection, else one at
    /// `::1`, else one at whatever other address.
    pub port: u16,
}
