//! Guests that come and go: the tables stay, and say what new ones would.

use banger_proto::helper::{GuestRules, Request};

use crate::host::open;
use crate::rig::{Helper, Namespaces, closed, rules, subnet, vm};

/// Both tables, without what is counted, and with the numbers that tell those of them that were made anew.
fn tables(namespaces: &Namespaces) -> (String, String) {
    let read = |program| String::from_utf8(namespaces.do_inside(program).stdout).expect("text");
    (read("nft -s list ruleset"), read("nft -j list tables"))
}

/// Asks for the rules of `guests`, and says whether the tables are the same ones as before. They must be as
/// those that somebody else loads, who knows of none before.
fn change(namespaces: &Namespaces, helper: &Helper, guests: &[GuestRules]) -> bool {
    let before = tables(namespaces);
    helper.done(&rules(guests));
    let after = tables(namespaces);
    let another = namespaces.serve();
    another.done(&rules(guests));
    let made = tables(namespaces);
    assert_eq!(after.0, made.0);
    assert_ne!(after.1, made.1, "numbers tell it");
    before.1 == after.1
}

#[test]
fn tables_stay_while_guests_come_and_go() {
    let namespaces = Namespaces::new();
    let helper = namespaces.serve();
    helper.done(&Request::EnsureBridge { subnet: subnet() });
    let ports =
        |number, host_ports: &[u16]| GuestRules { host_ports: host_ports.to_vec(), ..open(number) };
    assert!(!change(&namespaces, &helper, &[]), "the first rules are whole ones");
    assert!(change(&namespaces, &helper, &[closed(1)]));
    assert!(change(&namespaces, &helper, &[ports(1, &[7000, 7001]), closed(2), ports(3, &[7000])]));
    assert!(change(&namespaces, &helper, &[ports(1, &[7001]), open(2)]));
    // The address of one for another.
    let another = GuestRules { vm: vm(9), ..open(1) };
    assert!(change(&namespaces, &helper, &[another, open(2)]));
    assert!(change(&namespaces, &helper, &[]));

    // Who asks for the same again wants it put right.
    namespaces.do_inside("nft flush ruleset");
    assert!(!change(&namespaces, &helper, &[]));

    // What is not there cannot be changed.
    assert!(change(&namespaces, &helper, &[open(1)]));
    namespaces.do_inside("nft flush ruleset");
    assert!(!change(&namespaces, &helper, &[open(1), open(2)]));
    helper.done(&Request::RevertRules {});
    assert!(!change(&namespaces, &helper, &[open(1), open(2), open(3)]));
}
