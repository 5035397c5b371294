//! Names for VMs that were given none: an adjective and an animal.

use banger_proto::VmName;

const ADJECTIVES: &[&str] = &[
    "agile", "amber", "ample", "bold", "brave", "brisk", "calm", "clear", "clever", "cosy",
    "crisp", "daring", "deft", "eager", "early", "fair", "fast", "fine", "firm", "fond", "fresh",
    "gentle", "glad", "golden", "grand", "green", "happy", "hardy", "honest", "humble", "jolly",
    "keen", "kind", "light", "lively", "lucid", "lucky", "mellow", "merry", "mild", "modest",
    "neat", "nimble", "noble", "patient", "plain", "polite", "proud", "quick", "quiet", "rapid",
    "ready", "sharp", "silent", "silver", "smart", "snug", "sober", "spry", "steady", "sunny",
    "swift", "tidy", "warm",
];

const ANIMALS: &[&str] = &[
    "ant", "badger", "bat", "bear", "beaver", "bee", "bison", "camel", "cat", "cod", "crab",
    "crane", "crow", "deer", "dingo", "dove", "duck", "eagle", "eel", "elk", "emu", "falcon",
    "ferret", "finch", "fox", "frog", "gecko", "goat", "goose", "hare", "hawk", "heron", "horse",
    "ibis", "jay", "koala", "lark", "lemur", "lion", "lynx", "marten", "mole", "moose", "moth",
    "mouse", "newt", "orca", "otter", "owl", "panda", "pike", "puma", "quail", "rabbit", "raven",
    "robin", "seal", "snail", "stork", "swan", "tiger", "toad", "trout", "wren",
];

/// A name from random bits that `taken` does not know: one of the pairs, in an order that the
/// bits choose, and if all of those are taken, a pair with a number.
///
/// Gives none only when `taken` answers yes to everything.
pub fn plan_name(random: u64, taken: impl Fn(&str) -> bool) -> Option<VmName> {
    let pairs = (ADJECTIVES.len() * ANIMALS.len()) as u64;
    let pair = |index: u64| {
        let index = usize::try_from(index % pairs).unwrap_or_default();
        format!("{}-{}", ADJECTIVES[index / ANIMALS.len()], ANIMALS[index % ANIMALS.len()])
    };
    // An odd stride visits all of a power of two many pairs, and neighbours do not look alike.
    let stride = (random >> 32) | 1;
    let plain =
        (0..pairs).map(|step| pair((random % pairs).wrapping_add(step.wrapping_mul(stride))));
    let numbered = (2..1000).map(|number| format!("{}-{number}", pair(random)));
    plain.chain(numbered).find(|name| !taken(name)).and_then(|name| name.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_pair_is_a_name_and_is_reached() {
        let mut names = BTreeSet::new();
        for _ in 0..ADJECTIVES.len() * ANIMALS.len() {
            let name = plan_name(0x1234_5678_9abc_def0, |name| names.contains(name)).unwrap();
            assert!(names.insert(name.as_str().to_owned()));
        }
        assert_eq!(names.len(), ADJECTIVES.len() * ANIMALS.len());
        let next = plan_name(0x1234_5678_9abc_def0, |name| names.contains(name)).unwrap();
        assert!(next.as_str().ends_with("-2"), "{next}");
    }

    #[test]
    fn gives_up_when_everything_is_taken() {
        assert_eq!(plan_name(7, |_| true), None);
    }
}
