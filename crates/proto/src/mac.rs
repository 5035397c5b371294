//! Addresses of guests' network cards.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::VmId;

/// An Ethernet address: six bytes, written as `02:1a:…` in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress([u8; 6]);

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an Ethernet address: write one like 02:00:00:00:00:01")]
pub struct ParseMacError(String);

impl MacAddress {
    /// The address of a VM's card: its id, marked as locally administered (0x02) and as that of one
    /// card (0x01 clear), so that it meets no address of a manufacturer's.
    #[must_use]
    pub fn of_vm(vm: &VmId) -> Self {
        let mut bytes = vm.bytes();
        bytes[0] = (bytes[0] & !0x01) | 0x02;
        Self(bytes)
    }

    /// The address of the bridge's card: that of its network's gateway after `02:fc`, so that guests
    /// know the gateway again when the bridge has been made anew.
    #[must_use]
    pub fn of_gateway(gateway: Ipv4Addr) -> Self {
        let [a, b, c, d] = gateway.octets();
        Self([0x02, 0xfc, a, b, c, d])
    }

    /// The six bytes, in the order in which they are sent.
    #[must_use]
    pub fn bytes(&self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for MacAddress {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseMacError(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(wrong)?;
            if !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(wrong());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        parts.next().is_none().then_some(Self(bytes)).ok_or_else(wrong)
    }
}

impl TryFrom<String> for MacAddress {
    type Error = ParseMacError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(address: MacAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vms_card_is_locally_administered_and_one() {
        let of = |bytes| MacAddress::of_vm(&VmId::from_random(bytes)).to_string();
        assert_eq!(of([0xff, 1, 2, 3, 4, 5]), "fe:01:02:03:04:05");
        assert_eq!(of([0x00, 1, 2, 3, 4, 5]), "02:01:02:03:04:05");
    }

    #[test]
    fn the_bridges_card_follows_its_address() {
        let card = MacAddress::of_gateway(Ipv4Addr::new(172, 30, 0, 1));
        assert_eq!(card.to_string(), "02:fc:ac:1e:00:01");
        assert_eq!(card.bytes(), [0x02, 0xfc, 172, 30, 0, 1]);
    }

    #[test]
    fn parses_what_it_writes_and_nothing_else() {
        let text = "02:0a:ff:03:04:05";
        assert_eq!(text.parse::<MacAddress>().unwrap().to_string(), text);
        for bad in
            ["", "02:0a:ff:03:04", "02:0a:ff:03:04:05:06", "02:0a:ff:03:04:+5", "2:a:f:3:4:5"]
        {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad}");
        }
    }
}
