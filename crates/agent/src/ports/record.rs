//! What the host was told of listeners, and what it is to be told next. Pure.
//!
//! | | is told |
//! |---|---|
//! | a listener that is new | at once; one of UDP when it is there in the next look, too |
//! | a listener whose process is another | at once |
//! | a listener that is gone | when it is not there in the next look, either |
//!
//! So a server that starts anew between two looks is not told to be gone, and a port that comes and
//! goes makes one change a look at most. A socket of UDP that is seen only once was somebody's
//! question rather than a server. What is there in the first look is told whatever it is.

use std::collections::{BTreeMap, BTreeSet};

use banger_proto::guest::{ListenerProcess, MAX_LISTENERS, PortChange, PortProtocol};

use super::sockets::Endpoint;

/// A listener that was told.
#[derive(Debug)]
struct Told {
    process: Option<ListenerProcess>,
    /// It was not there in the last look.
    missed: bool,
}

/// The record of one who is told.
#[derive(Debug, Default)]
pub(super) struct Record {
    told: BTreeMap<Endpoint, Told>,
    /// Of UDP, and seen once.
    once: BTreeSet<Endpoint>,
    looked: bool,
}

impl Record {
    /// Whether the next look, if it finds the same, has nothing to tell.
    pub(super) fn is_settled(&self) -> bool {
        self.looked && self.once.is_empty() && !self.told.values().any(|told| told.missed)
    }

    /// Takes the outcome of a look; what is to be told of it. Never are more than
    /// [`MAX_LISTENERS`] told to be there: what exceeds them waits for the next look.
    pub(super) fn update(
        &mut self,
        seen: BTreeMap<Endpoint, Option<ListenerProcess>>,
    ) -> Vec<PortChange> {
        let mut changes = Vec::new();
        self.told.retain(|endpoint, told| {
            let gone = !seen.contains_key(endpoint);
            let stays = !(gone && told.missed);
            told.missed = gone;
            if !stays {
                changes.push(PortChange::Closed(endpoint.listener(None)));
            }
            stays
        });
        let first = !std::mem::replace(&mut self.looked, true);
        let before = std::mem::take(&mut self.once);
        for (endpoint, process) in seen {
            let full = self.told.len() == MAX_LISTENERS;
            match self.told.get_mut(&endpoint) {
                Some(told) if told.process == process => continue,
                Some(told) => told.process = process.clone(),
                None if full => continue,
                None if endpoint.protocol == PortProtocol::Udp
                    && !first
                    && !before.contains(&endpoint) =>
                {
                    self.once.insert(endpoint);
                    continue;
                }
                None => {
                    let told = Told { process: process.clone(), missed: false };
                    self.told.insert(endpoint, told);
                }
            }
            changes.push(PortChange::Opened(endpoint.listener(process)));
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use banger_proto::guest::PortListener;

    use super::*;

    fn at(protocol: PortProtocol, port: u16) -> Endpoint {
        Endpoint { port, protocol, address: [127, 0, 0, 1].into() }
    }

    fn tcp(port: u16) -> Endpoint {
        at(PortProtocol::Tcp, port)
    }

    fn look(
        record: &mut Record,
        seen: impl IntoIterator<Item = (Endpoint, u32)>,
    ) -> Vec<(char, u16)> {
        let process = |pid| ListenerProcess { pid, name: "server".into() };
        let seen = seen.into_iter().map(|(endpoint, pid)| (endpoint, Some(process(pid)))).collect();
        let told = record.update(seen);
        told.into_iter()
            .map(|change| match change {
                PortChange::Opened(PortListener { port, process, .. }) => {
                    assert!(process.is_some());
                    ('+', port)
                }
                PortChange::Closed(PortListener { port, process: None, .. }) => ('-', port),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn only_changes_are_told() {
        let mut record = Record::default();
        assert_eq!(look(&mut record, [(tcp(80), 1), (tcp(22), 2)]), [('+', 22), ('+', 80)]);
        assert_eq!(look(&mut record, [(tcp(80), 1), (tcp(22), 2)]), []);
        assert_eq!(look(&mut record, [(tcp(80), 3), (tcp(22), 2)]), [('+', 80)], "changed hands");
    }

    #[test]
    fn one_that_flaps_is_told_once() {
        let mut record = Record::default();
        assert_eq!(look(&mut record, [(tcp(80), 1)]), [('+', 80)]);
        for _ in 0..10 {
            assert_eq!(look(&mut record, []), []);
            assert_eq!(look(&mut record, [(tcp(80), 1)]), []);
        }
        assert!(record.is_settled());
        assert_eq!(look(&mut record, []), []);
        assert!(!record.is_settled());
        assert_eq!(look(&mut record, []), [('-', 80)]);
        assert!(record.is_settled());
        assert_eq!(look(&mut record, []), []);
    }

    #[test]
    fn a_question_by_udp_is_no_server() {
        let udp = |port| (at(PortProtocol::Udp, port), 1);
        let mut record = Record::default();
        assert!(!record.is_settled());
        assert_eq!(look(&mut record, [udp(53)]), [('+', 53)]);
        assert!(record.is_settled());
        assert_eq!(look(&mut record, [udp(53), udp(40_000)]), []);
        assert!(!record.is_settled());
        assert_eq!(look(&mut record, [udp(53), udp(40_001)]), []);
        assert_eq!(look(&mut record, [udp(53), udp(40_001)]), [('+', 40_001)]);
    }

    #[test]
    fn never_more_than_the_most_are_told_to_be_there() {
        let most = MAX_LISTENERS as u16;
        let mut record = Record::default();
        let (low, high) = (1..=most, most + 1..=2 * most);
        assert_eq!(look(&mut record, high.map(|port| (tcp(port), 1))).len(), MAX_LISTENERS);
        let mut there = MAX_LISTENERS;
        let mut told = Vec::new();
        for _ in 0..3 {
            for change in look(&mut record, low.clone().map(|port| (tcp(port), 1))) {
                there = if change.0 == '+' { there + 1 } else { there - 1 };
                assert!(there <= MAX_LISTENERS);
                told.push(change);
            }
        }
        assert_eq!((there, told.len()), (MAX_LISTENERS, 2 * MAX_LISTENERS));
    }
}
