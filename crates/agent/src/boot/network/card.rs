//! The card itself: finding it by its address, and giving it what the host says.

use std::path::Path;
use std::time::{Duration, Instant};

use banger_proto::MacAddress;
use banger_proto::guest::GuestNetwork;

use super::NetworkError;
use super::rtnetlink::RouteSocket;
use crate::uevent::Uevents;

/// Index of the loopback interface in every network namespace (the kernel's `LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// Settings of an interface that keep it from having any IPv6: the host has no rules for it, and
/// what a router says would give the guest addresses and routes that lead nowhere.
const NO_IPV6: [(&str, &str); 2] = [("disable_ipv6", "1"), ("accept_ra", "0")];

/// Where the kernel shows interfaces and takes their settings.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Directory of all interfaces.
    pub(super) interfaces: &'static str,
    /// Directory of their settings for IPv6; missing where the kernel has no IPv6.
    ipv6: &'static str,
}

/// The running kernel, by the initramfs' own `/sys` and `/proc`.
pub(super) const SYSTEM: Kernel =
    Kernel { interfaces: "/sys/class/net", ipv6: "/proc/sys/net/ipv6/conf" };

/// An interface.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Card {
    /// Its name.
    pub(super) name: String,
    /// Its number.
    pub(super) index: u32,
}

/// Brings up the loopback interface.
pub(super) fn raise_loopback(socket: &mut RouteSocket) -> Result<(), NetworkError> {
    socket.raise(LOOPBACK).map_err(NetworkError::refusing("the state", "lo"))
}

/// The interface with the address `mac`; waits for it for not more than `patience`.
pub(super) fn find(
    kernel: &Kernel,
    mac: MacAddress,
    patience: Duration,
) -> Result<Card, NetworkError> {
    let interfaces = Path::new(kernel.interfaces);
    let uevents = Uevents::open().map_err(NetworkError::Netlink)?;
    let deadline = Instant::now() + patience;
    loop {
        if let Some(card) = observe(interfaces, mac) {
            return Ok(card);
        }
        if !uevents.wait(Some(deadline)).map_err(NetworkError::Netlink)? {
            return Err(NetworkError::NoCard(mac));
        }
    }
}

/// Looks for the interface once.
pub(super) fn observe(interfaces: &Path, mac: MacAddress) -> Option<Card> {
    let has_address = |directory: &Path| {
        let address = std::fs::read_to_string(directory.join("address"));
        address.is_ok_and(|address| address.trim().parse() == Ok(mac))
    };
    list(interfaces, has_address).next()
}

/// The interfaces whose directories are `wanted`.
pub(super) fn list(
    interfaces: &Path,
    wanted: impl Fn(&Path) -> bool,
) -> impl Iterator<Item = Card> {
    let entries = std::fs::read_dir(interfaces).into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let directory = entry.path();
        if !wanted(&directory) {
            return None;
        }
        let index = std::fs::read_to_string(directory.join("ifindex")).ok()?.trim().parse().ok()?;
        Some(Card { name: entry.file_name().into_string().ok()?, index })
    })
}

/// Gives the card everything that it has in `network`, the route last: it needs the rest.
pub(super) fn configure(
    socket: &mut RouteSocket,
    kernel: &Kernel,
    card: &Card,
    network: &GuestNetwork,
) -> Result<(), NetworkError> {
    let refusing = |what| NetworkError::refusing(what, &card.name);
    forbid_ipv6(Path::new(kernel.ipv6), &card.name)?;
    let index = card.index;
    socket.set_mtu(index, network.mtu).map_err(refusing("the MTU"))?;
    socket.set_address(index, network.address, network.prefix).map_err(refusing("the address"))?;
    socket.raise(index).map_err(refusing("the state"))?;
    socket.set_default_route(index, network.gateway).map_err(refusing("the default route"))
}

/// Before it is up: it would have addresses at once. A kernel without IPv6 has no such settings.
fn forbid_ipv6(settings: &Path, interface: &str) -> Result<(), NetworkError> {
    let settings = settings.join(interface);
    if !settings.is_dir() {
        return Ok(());
    }
    NO_IPV6.iter().try_for_each(|(name, value)| {
        let refusing = NetworkError::refusing("the absence of IPv6", interface);
        std::fs::write(settings.join(name), value).map_err(refusing)
    })
}

#[cfg(test)]
mod tests {
    use super::super::namespace::{alone, run};
    use super::super::set_up;
    use super::*;

    fn mac(text: &str) -> MacAddress {
        text.parse().unwrap()
    }

    #[test]
    fn a_card_is_told_by_its_address() {
        let interfaces = tempfile::tempdir().unwrap();
        for (name, address, index) in [
            ("lo", "00:00:00:00:00:00", "1"),
            ("eth0", "02:11:22:33:44:55", "2"),
            ("sit0", "0.0.0.0", "3"),
        ] {
            let directory = interfaces.path().join(name);
            std::fs::create_dir(&directory).unwrap();
            std::fs::write(directory.join("address"), format!("{address}\n")).unwrap();
            std::fs::write(directory.join("ifindex"), format!("{index}\n")).unwrap();
        }
        let seen = observe(interfaces.path(), mac("02:11:22:33:44:55"));
        assert_eq!(seen, Some(Card { name: "eth0".into(), index: 2 }));
        assert_eq!(observe(interfaces.path(), mac("02:11:22:33:44:56")), None);
    }

    #[test]
    fn a_card_that_is_not_there_is_not_waited_for_for_ever() {
        let soon = Duration::from_millis(10);
        let error = find(&SYSTEM, mac("02:de:ad:be:ef:01"), soon).unwrap_err();
        assert!(error.to_string().contains("02:de:ad:be:ef:01"), "{error}");
    }

    #[test]
    fn the_card_gets_all_that_the_host_says() {
        let name = "boot::network::card::tests::the_card_gets_all_that_the_host_says";
        alone(name, in_a_namespace_of_its_own);
    }

    fn in_a_namespace_of_its_own() {
        run("ip", "link add eth0 address 02:11:22:33:44:55 type veth peer name far0");
        run("ip", "link set far0 up");
        let network = GuestNetwork {
            mac: mac("02:11:22:33:44:55"),
            address: [172, 30, 0, 11].into(),
            prefix: 24,
            gateway: [172, 30, 0, 1].into(),
            resolver: [172, 30, 0, 1].into(),
            search: "vm".into(),
            mtu: 1400,
        };
        // A boot that failed later on is tried again.
        for _ in 0..2 {
            assert_eq!(set_up(Some(&network)), Vec::<String>::new());
        }
        let card: serde_json::Value =
            serde_json::from_str(&run("ip", "-j address show dev eth0")).unwrap();
        let card = &card[0];
        assert_eq!(card["mtu"], 1400);
        assert!(card["flags"].as_array().unwrap().contains(&"UP".into()), "{card}");
        let addresses = card["addr_info"].as_array().unwrap();
        assert_eq!(addresses.len(), 1, "no address of IPv6: {card}");
        assert_eq!(
            (&addresses[0]["local"], &addresses[0]["prefixlen"]),
            (&"172.30.0.11".into(), &24.into())
        );
        let routes: serde_json::Value =
            serde_json::from_str(&run("ip", "-j route show default")).unwrap();
        assert_eq!(routes.as_array().unwrap().len(), 1, "{routes}");
        assert_eq!(
            (&routes[0]["gateway"], &routes[0]["dev"]),
            (&"172.30.0.1".into(), &"eth0".into())
        );
        assert!(run("ip", "-j link show dev lo").contains("\"UP\""));

        let elsewhere = GuestNetwork { gateway: [10, 9, 9, 9].into(), ..network };
        let warnings = set_up(Some(&elsewhere));
        assert!(
            matches!(&warnings[..], [only] if only.contains("default route") && only.contains("`eth0`")),
            "{warnings:?}"
        );
    }
}
