//! From rules that are loaded to others, by what comes and goes with guests. Replacing a table takes its
//! chains from their hooks, for which the kernel waits until no packet is in them any more: it takes five
//! times as long.

use std::collections::BTreeSet;
use std::fmt::Write;

use banger_proto::helper::Rules;

use super::TABLE;
use super::guest_sets::GUEST_SETS;

/// Text that makes the tables of `before` those of `after`; empty where they are the same. None where they
/// differ in more than their guests.
#[must_use]
pub fn render_difference(before: &Rules, after: &Rules) -> Option<String> {
    // Whatever rules are made of besides guests has to be looked at here.
    let Rules { subnet, host_addresses, guests: _ } = before;
    if (subnet, host_addresses) != (&after.subnet, &after.host_addresses) {
        return None;
    }
    let mut text = String::new();
    for set in GUEST_SETS {
        let of = |rules| BTreeSet::from_iter((set.elements)(rules));
        let (had, has) = (of(before), of(after));
        for (verb, elements) in [("delete", &had - &has), ("add", &has - &had)] {
            for element in elements {
                let (family, name) = (set.family, set.name);
                let _ = writeln!(text, "{verb} element {family} {TABLE} {name} {{ {element} }}");
            }
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::super::tests::rules;
    use super::*;

    #[test]
    fn a_guest_comes() {
        let (before, mut after) = (rules(), rules());
        let mut guest = before.guests[0].clone();
        guest.vm = "0a0000000003".parse().unwrap();
        guest.address = [172, 30, 0, 4].into();
        after.guests.push(guest);
        let expected = r#"add element bridge banger card { "bt-0a0000000003" . 0a:00:00:00:00:03 . 172.30.0.4 }
add element inet banger guest { 172.30.0.4 }
add element inet banger nat { 172.30.0.4 }
add element inet banger host_port { 172.30.0.4 . 5432 }
add element inet banger host_port { 172.30.0.4 . 8080 }
"#;
        assert_eq!(render_difference(&before, &after).unwrap(), expected);
        let back = render_difference(&after, &before).unwrap();
        assert_eq!(back, expected.replace("add ", "delete "));
    }

    #[test]
    fn another_guest_gets_the_address() {
        let (before, mut after) = (rules(), rules());
        after.guests[0].vm = "0a0000000003".parse().unwrap();
        after.guests[0].nat = false;
        after.guests[0].host_ports = vec![5432];
        let expected = r#"delete element bridge banger card { "bt-0a0000000001" . 0a:00:00:00:00:01 . 172.30.0.2 }
add element bridge banger card { "bt-0a0000000003" . 0a:00:00:00:00:03 . 172.30.0.2 }
delete element inet banger nat { 172.30.0.2 }
delete element inet banger host_port { 172.30.0.2 . 8080 }
"#;
        assert_eq!(render_difference(&before, &after).unwrap(), expected);
    }

    #[test]
    fn what_is_of_no_guest_takes_all() {
        let mut other_host = rules();
        other_host.host_addresses.pop();
        let mut other_subnet = rules();
        other_subnet.subnet = "172.30.1.0/24".parse().unwrap();
        for other in [other_host, other_subnet] {
            assert_eq!(render_difference(&rules(), &other), None);
        }
        assert_eq!(render_difference(&rules(), &rules()).as_deref(), Some(""));
    }
}
