//! How the host reaches what listens in a guest.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::VmId;
use crate::VmName;
use crate::guest::{ListenerProcess, PortProtocol};

/// Most ports of the host that one VM can be given.
pub const MAX_PUBLISHED: usize = 64;

/// A TCP port of the host that leads to one of a VM, while the VM runs.
///
/// As text: `[ADDR:]HOST:GUEST`, like `8080:80`, `0.0.0.0:8080:80`, `[::1]:8080:80`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Publish {
    /// Address of the host's own; `0.0.0.0` or `::` for all, where others reach it, too.
    #[serde(default = "loopback")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub address: IpAddr,
    /// Port of the host, not 0.
    pub host: u16,
    /// Port of the guest, not 0.
    pub guest: u16,
}

fn loopback() -> IpAddr {
    Ipv4Addr::LOCALHOST.into()
}

impl Publish {
    /// Where the host listens.
    #[must_use]
    pub fn endpoint(&self) -> SocketAddr {
        (self.address, self.host).into()
    }
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.endpoint(), self.guest)
    }
}

/// Why a text says no published port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParsePublishError {
    /// It does not have its parts.
    #[error("a published port is written `[ADDR:]HOST:GUEST`, like 8080:80")]
    Form,
    /// Something that should be a port is none.
    #[error("`{0}` is no port: 1 to 65535 are")]
    Port(String),
    /// Something that should be an address is none.
    #[error("`{0}` is no address of this host, like 127.0.0.1 or [::1]")]
    Address(String),
}

impl FromStr for Publish {
    type Err = ParsePublishError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (rest, guest) = text.rsplit_once(':').ok_or(ParsePublishError::Form)?;
        let (address, host) = match rest.rsplit_once(':') {
            Some((address, host)) => (parse_address(address)?, host),
            None => (loopback(), rest),
        };
        Ok(Self { address, host: parse_port(host)?, guest: parse_port(guest)? })
    }
}

fn parse_address(text: &str) -> Result<IpAddr, ParsePublishError> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let parsed = match bare {
        Some(bare) => bare.parse().map(IpAddr::V6),
        None => text.parse().map(IpAddr::V4),
    };
    parsed.map_err(|_| ParsePublishError::Address(text.to_owned()))
}

fn parse_port(text: &str) -> Result<u16, ParsePublishError> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| ParsePublishError::Port(text.to_owned()))
}

/// What listens in a guest, and where the host reaches it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VmPorts {
    /// The VM.
    pub id: VmId,
    /// Its name.
    pub name: VmName,
    /// The address of the host's loopback network that is the VM's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub loopback: Option<Ipv4Addr>,
    /// The listeners, by protocol and port.
    pub ports: Vec<PortView>,
}

/// A port that a program of a guest listens at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PortView {
    /// What is spoken. Only TCP is forwarded.
    pub protocol: PortProtocol,
    /// Address in the guest; `0.0.0.0` or `::` for all.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub address: IpAddr,
    /// Port in the guest.
    pub port: u16,
    /// Who has it, as far as that can be told.
    pub process: Option<ListenerProcess>,
    /// Where the host reaches it, at the VM's loopback address; a port that only root may have is
    /// another one there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub endpoint: Option<SocketAddr>,
    /// Where else it was published.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub published: Vec<SocketAddr>,
    /// Where a browser finds it, if it answers HTTP or TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Why the host does not reach it at the VM's loopback address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl PortView {
    /// Where the host reaches it, if it does: at the VM's own address rather than elsewhere.
    #[must_use]
    pub fn reached_at(&self) -> Option<SocketAddr> {
        self.endpoint.or_else(|| self.published.first().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_ports_are_read_and_written() {
        let cases = [
            ("8080:80", "127.0.0.1:8080:80"),
            ("0.0.0.0:8080:80", "0.0.0.0:8080:80"),
            ("[::1]:8080:80", "[::1]:8080:80"),
        ];
        for (text, written) in cases {
            let publish: Publish = text.parse().unwrap();
            assert_eq!(publish.to_string(), written);
            assert_eq!(written.parse::<Publish>(), Ok(publish));
        }
        let bare: Publish = serde_json::from_str(r#"{"host":1,"guest":2}"#).unwrap();
        assert_eq!(bare.to_string(), "127.0.0.1:1:2");
    }

    #[test]
    fn what_is_no_published_port_says_so() {
        let refused =
            ["80", "", ":", "0:80", "80:0", "80:65536", "a:80", "host:80:80", "::1:80:80"];
        let why = refused.map(|text| text.parse::<Publish>().unwrap_err().to_string());
        assert!(why[0].contains("[ADDR:]HOST:GUEST"), "{why:?}");
        assert!(why[7].contains("`host` is no address"), "{why:?}");
        assert!(why[8].contains("`::1` is no address"), "{why:?}");
    }
}
