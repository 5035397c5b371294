//! The card of a guest that becomes another VM: it still is as its parent's, which may run beside
//! it in the same network.

use std::path::Path;

use banger_proto::MacAddress;
use banger_proto::guest::GuestNetwork;

use super::card::{self, Card, SYSTEM};
use super::rtnetlink::RouteSocket;
use super::{NetworkError, render, set_up};
use crate::context::KnownCard;

/// Makes the card that was known as `before` the one that `network` describes; takes it down where
/// there is to be none. Returns what did not work; a card that could not be given its own address
/// stays down then, so that no two guests have the same.
pub(in crate::boot) fn renew(before: KnownCard, network: Option<&GuestNetwork>) -> Vec<String> {
    let wanted = network.map(|network| network.mac);
    let Some(card) = find(Path::new(SYSTEM.interfaces), before, wanted) else {
        // As at boot, where it is not there yet, or never was to be.
        return set_up(network);
    };
    change(&card, network).err().map(|error| render(&error)).into_iter().collect()
}

/// The card as it is now. A renewal that failed half-way may have given it the address that it is
/// to have.
fn find(interfaces: &Path, before: KnownCard, wanted: Option<MacAddress>) -> Option<Card> {
    let before = match before {
        KnownCard::None => return None,
        KnownCard::Unknown => None,
        KnownCard::Mac(mac) => Some(mac),
    };
    let known = [before, wanted].into_iter().flatten();
    known.filter_map(|mac| card::observe(interfaces, mac)).next().or_else(|| find_only(interfaces))
}

/// The one interface that has hardware, if there is no other.
fn find_only(interfaces: &Path) -> Option<Card> {
    let mut cards = card::list(interfaces, |directory| directory.join("device").exists());
    let only = cards.next()?;
    cards.next().is_none().then_some(only)
}

fn change(card: &Card, network: Option<&GuestNetwork>) -> Result<(), NetworkError> {
    let mut socket = RouteSocket::open().map_err(NetworkError::Netlink)?;
    let refusing = |what| NetworkError::refusing(what, &card.name);
    // First of all: nothing of the parent's goes out any more. Its routes are gone with this, too.
    socket.lower(card.index).map_err(refusing("the state"))?;
    socket.remove_addresses(card.index).map_err(refusing("the absence of addresses"))?;
    let Some(network) = network else { return Ok(()) };
    socket.set_mac(card.index, network.mac).map_err(refusing("the hardware's address"))?;
    card::configure(&mut socket, &SYSTEM, card, network)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::namespace::{alone, run};
    use super::*;

    const PARENT: &str = "02:11:22:33:44:55";
    const CHILD: &str = "02:11:22:33:44:66";

    fn mac(text: &str) -> MacAddress {
        text.parse().unwrap()
    }

    fn network(mac_of: &str, last: u8) -> GuestNetwork {
        GuestNetwork {
            mac: mac(mac_of),
            address: [172, 30, 0, last].into(),
            prefix: 24,
            gateway: [172, 30, 0, 1].into(),
            resolver: [172, 30, 0, 1].into(),
            search: "vm".into(),
            mtu: 1400,
        }
    }

    #[test]
    fn a_card_that_is_not_known_is_the_only_one() {
        let interfaces = tempfile::tempdir().unwrap();
        let add = |name: &str, address: &str, index: u32, hardware: bool| {
            let directory = interfaces.path().join(name);
            std::fs::create_dir(&directory).unwrap();
            std::fs::write(directory.join("address"), format!("{address}\n")).unwrap();
            std::fs::write(directory.join("ifindex"), format!("{index}\n")).unwrap();
            if hardware {
                symlink("/", directory.join("device")).unwrap();
            }
        };
        let found = |before, wanted| find(interfaces.path(), before, wanted).map(|card| card.index);
        add("lo", "00:00:00:00:00:00", 1, false);
        add("docker0", "02:42:00:00:00:01", 3, false);
        assert_eq!(found(KnownCard::Unknown, None), None);

        add("eth0", PARENT, 2, true);
        assert_eq!(found(KnownCard::Unknown, Some(mac(CHILD))), Some(2));
        assert_eq!(found(KnownCard::Unknown, None), Some(2));
        assert_eq!(found(KnownCard::Mac(mac(PARENT)), Some(mac(CHILD))), Some(2));
        assert_eq!(found(KnownCard::None, Some(mac(PARENT))), None, "it is not the agent's");

        add("eth1", CHILD, 4, true);
        assert_eq!(found(KnownCard::Mac(mac(PARENT)), Some(mac(CHILD))), Some(2));
        assert_eq!(found(KnownCard::Unknown, None), None, "there are two");
        assert_eq!(found(KnownCard::Unknown, Some(mac(CHILD))), Some(4), "it was given to it");
    }

    #[test]
    fn the_card_is_one_of_its_own() {
        let name = "boot::network::renewal::tests::the_card_is_one_of_its_own";
        alone(name, in_a_namespace_of_its_own);
    }

    fn in_a_namespace_of_its_own() {
        run("ip", &format!("link add eth0 address {PARENT} type veth peer name far0"));
        run("ip", "link set far0 up");
        assert_eq!(set_up(Some(&network(PARENT, 11))), Vec::<String>::new());
        // What the parent's programs did with it is the parent's, too.
        run("ip", "address add 172.30.0.99/24 dev eth0");
        run("ip", "address add 10.7.0.1/16 dev eth0");
        run("ip", "route add 10.8.0.0/16 via 172.30.0.7");
        run("ip", "route add 10.9.0.0/16 via 172.30.0.7 table 7");

        // The second is one whose answer was lost.
        for before in [PARENT, CHILD] {
            let renewed = renew(KnownCard::Mac(mac(before)), Some(&network(CHILD, 12)));
            assert_eq!(renewed, Vec::<String>::new());
            let card = show_card();
            assert_eq!((&card["address"], &card["mtu"]), (&CHILD.into(), &1400.into()), "{card}");
            assert!(card["flags"].as_array().unwrap().contains(&"UP".into()), "{card}");
            assert_eq!(addresses(&card), ["172.30.0.12"]);
            let routes = run("ip", "-4 route show table all type unicast");
            let routes: Vec<_> = routes.lines().collect();
            let [default, near] = &routes[..] else { panic!("{routes:?}") };
            assert!(default.starts_with("default via 172.30.0.1 dev eth0"), "{default}");
            assert!(near.starts_with("172.30.0.0/24 dev eth0") && near.contains("172.30.0.12"));
        }

        assert_eq!(renew(KnownCard::None, None), Vec::<String>::new());
        assert_eq!(addresses(&show_card()), ["172.30.0.12"], "it is not the agent's");
        assert_eq!(renew(KnownCard::Mac(mac(CHILD)), None), Vec::<String>::new());
        let card = show_card();
        assert!(!card["flags"].as_array().unwrap().contains(&"UP".into()), "{card}");
        assert_eq!(addresses(&card), [""; 0]);
        assert_eq!(run("ip", "-4 route show table all type unicast"), "");

        // One that had none gets one, which is there already.
        assert_eq!(renew(KnownCard::None, Some(&network(CHILD, 13))), Vec::<String>::new());
        assert_eq!(addresses(&show_card()), ["172.30.0.13"]);
        // One whose own address is refused, which that of a group is.
        let group = network("03:00:00:00:00:01", 14);
        let warnings = renew(KnownCard::Mac(mac(CHILD)), Some(&group));
        assert!(
            matches!(&warnings[..], [only] if only.contains("the hardware's address of `eth0`")),
            "{warnings:?}"
        );
        let card = show_card();
        assert!(!card["flags"].as_array().unwrap().contains(&"UP".into()), "{card}");
    }

    fn show_card() -> serde_json::Value {
        let all: serde_json::Value =
            serde_json::from_str(&run("ip", "-j address show dev eth0")).unwrap();
        all[0].clone()
    }

    fn addresses(card: &serde_json::Value) -> Vec<&str> {
        let all = card["addr_info"].as_array().unwrap();
        all.iter().map(|address| address["local"].as_str().unwrap()).collect()
    }
}
