//! The network that the VMs of one user share: its addresses and who has which.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest prefix: two guests, the bridge, and the two addresses that no network gives away.
pub const MAX_PREFIX: u8 = 29;
/// Shortest prefix: more guests than a bridge has ports (1,023, the kernel's limit).
pub const MIN_PREFIX: u8 = 22;

/// A private IPv4 network. The bridge has its first address; guests have the ones after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    network: Ipv4Addr,
    prefix: u8,
}

/// Why a text is not the network of VMs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseSubnetError {
    /// Not an address and a prefix.
    #[error("`{0}` is not a network: write one like 172.30.0.0/24")]
    Form(String),
    /// Too many or too few addresses.
    #[error("network `{0}` has an unusable size: the prefix is /{MIN_PREFIX} to /{MAX_PREFIX}")]
    Prefix(String),
    /// The address is one inside the network.
    #[error("network `{0}` does not begin at that address: did you mean {1}?")]
    Host(String, Subnet),
    /// Addresses that belong to others on the internet.
    #[error(
        "network `{0}` is not private: take one in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"
    )]
    Public(String),
}

impl Subnet {
    /// The network that `address` is in; none when it is no private one of a usable size.
    #[must_use]
    pub fn around(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        let network = Ipv4Addr::from(u32::from(address) & mask(prefix));
        let usable = (MIN_PREFIX..=MAX_PREFIX).contains(&prefix) && network.is_private();
        usable.then_some(Self { network, prefix })
    }

    /// The network's own address.
    #[must_use]
    pub fn network(&self) -> Ipv4Addr {
        self.network
    }

    /// Bits of the network's part.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The bridge's address: router, name server and way to the host for the guests.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        self.at(1)
    }

    /// The address of the guest with lease `lease`, from 0; none when there are fewer.
    #[must_use]
    pub fn guest(&self, lease: u32) -> Option<Ipv4Addr> {
        (lease < self.guests()).then(|| self.at(lease + 2))
    }

    /// How many guests there can be.
    #[must_use]
    pub fn guests(&self) -> u32 {
        // Without the network's address, the bridge's and the broadcast address.
        self.size() - 3
    }

    /// Whether `address` is one that a guest can have.
    #[must_use]
    pub fn is_guest(&self, address: Ipv4Addr) -> bool {
        let offset = u32::from(address).wrapping_sub(u32::from(self.network));
        (2..self.size() - 1).contains(&offset)
    }

    /// Whether any address is in both.
    #[must_use]
    pub fn overlaps(&self, network: Ipv4Addr, prefix: u8) -> bool {
        let mask = mask(prefix.min(self.prefix));
        u32::from(self.network) & mask == u32::from(network) & mask
    }

    fn size(&self) -> u32 {
        1 << (32 - self.prefix)
    }

    fn at(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network) + offset)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

impl FromStr for Subnet {
    type Err = ParseSubnetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || ParseSubnetError::Form(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(form)?;
        let address: Ipv4Addr = address.parse().map_err(|_| form())?;
        let prefix: u8 = prefix.parse().map_err(|_| form())?;
        if !(MIN_PREFIX..=MAX_PREFIX).contains(&prefix) {
            return Err(ParseSubnetError::Prefix(text.to_owned()));
        }
        let public = || ParseSubnetError::Public(text.to_owned());
        let subnet = Self::around(address, prefix).ok_or_else(public)?;
        if subnet.network != address {
            return Err(ParseSubnetError::Host(text.to_owned(), subnet));
        }
        Ok(subnet)
    }
}

impl TryFrom<String> for Subnet {
    type Error = ParseSubnetError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn who_has_which_address() {
        let small = subnet("10.1.2.8/29");
        assert_eq!(small.gateway(), Ipv4Addr::new(10, 1, 2, 9));
        assert_eq!(small.guests(), 5);
        let guests: Vec<_> = (0..9).filter_map(|lease| small.guest(lease)).collect();
        assert_eq!(guests.len(), 5);
        assert_eq!(guests.first(), Some(&Ipv4Addr::new(10, 1, 2, 10)));
        assert_eq!(guests.last(), Some(&Ipv4Addr::new(10, 1, 2, 14)));
        assert!(guests.iter().all(|address| small.is_guest(*address)));
        for other in [7, 8, 9, 15, 16] {
            assert!(!small.is_guest(Ipv4Addr::new(10, 1, 2, other)), "{other}");
        }
        assert_eq!(subnet("172.30.4.0/22").guest(1020), Some(Ipv4Addr::new(172, 30, 7, 254)));
        assert_eq!(subnet("172.30.4.0/22").guest(1021), None);
    }

    #[test]
    fn networks_that_meet() {
        let ours = subnet("172.30.0.0/24");
        for (network, prefix, meets) in [
            ([172, 30, 0, 0], 24, true),
            ([172, 30, 0, 128], 25, true),
            ([172, 16, 0, 0], 12, true),
            ([0, 0, 0, 0], 0, true),
            ([172, 30, 0, 7], 32, true),
            ([172, 30, 1, 0], 24, false),
            ([10, 0, 0, 0], 8, false),
        ] {
            assert_eq!(ours.overlaps(network.into(), prefix), meets, "{network:?}/{prefix}");
        }
    }

    #[test]
    fn refuses_what_is_no_private_network() {
        let refused = [
            "",
            "172.30.0.0",
            "172.30.0.0/x",
            "10.0.0.0/8",
            "10.0.0.0/30",
            "8.8.8.0/24",
            "172.30.0.7/24",
            "fd00::/64",
        ];
        let messages: Vec<_> =
            refused.iter().map(|text| text.parse::<Subnet>().unwrap_err().to_string()).collect();
        assert_eq!(
            messages,
            [
                "`` is not a network: write one like 172.30.0.0/24",
                "`172.30.0.0` is not a network: write one like 172.30.0.0/24",
                "`172.30.0.0/x` is not a network: write one like 172.30.0.0/24",
                "network `10.0.0.0/8` has an unusable size: the prefix is /22 to /29",
                "network `10.0.0.0/30` has an unusable size: the prefix is /22 to /29",
                "network `8.8.8.0/24` is not private: take one in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16",
                "network `172.30.0.7/24` does not begin at that address: did you mean 172.30.0.0/24?",
                "`fd00::/64` is not a network: write one like 172.30.0.0/24",
            ]
        );
        let back: Subnet = serde_json::from_str("\"192.168.7.0/24\"").unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), "\"192.168.7.0/24\"");
    }
}
