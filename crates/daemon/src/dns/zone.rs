//! What VMs are called: an immutable table, and what it says to a question.
//!
//! Responsible for deciding, not for packets. The table is built as a whole whenever a VM comes, goes
//! or changes and replaces the one before; so a lookup needs no lock and sees no half of a change.
//!
//! Two kinds of askers get different answers, because they reach a VM on different ways:
//!
//! | question | the host | a guest |
//! |---|---|---|
//! | `web.vm` | where the host reaches it | its address in the network of VMs |
//! | `host.vm` | as any name | the gateway |
//! | addresses in reverse | of 127.77.0.0/16 and the network | of the network |
//! | `localhost`, `invalid`, `onion`, 127/8 … | refused | answered here, see [`local_only`] |
//! | everything else | refused | forwarded for who may go out, else refused |

use std::collections::HashMap;
use std::net::Ipv4Addr;

pub use banger_proto::name::DOMAIN;
use banger_proto::{Subnet, VmName};
use hickory_proto::op::Query;
use hickory_proto::rr::rdata::{A, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};

/// What guests call their gateway, in [`DOMAIN`].
pub const GATEWAY: &str = banger_proto::name::HOST_NAME;
/// The first two bytes of the addresses at which the host reaches VMs in user mode.
const LOOPBACK: [u8; 2] = [127, 77];

/// A VM's names and rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The VM.
    pub name: VmName,
    /// Its address in the network of VMs; none while it has none.
    pub guest: Option<Ipv4Addr>,
    /// Where the host reaches it; none while it cannot.
    pub host: Option<Ipv4Addr>,
    /// Whether it may go out, and so ask for names of others.
    pub nat: bool,
}

/// All names at one time.
#[derive(Debug, Default)]
pub struct Zone {
    records: Vec<Record>,
    /// Places in `records`.
    by_name: HashMap<VmName, usize>,
    by_guest: HashMap<Ipv4Addr, usize>,
    by_host: HashMap<Ipv4Addr, usize>,
    subnet: Option<Subnet>,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// A program on this host.
    Host,
    /// The guest with this address.
    Guest(Ipv4Addr),
}

/// What there is to say to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// This.
    Data(RData),
    /// The name exists, but has nothing of that type. Whoever keeps that in mind keeps it for this
    /// zone.
    NoData(Name),
    /// No such name in this zone.
    NoName(Name),
    /// It is not for this server to say, or not to this asker.
    Refused,
    /// The host's resolvers know.
    Forward,
}

/// What a name is in a zone that is answered here.
enum Holds {
    Nothing,
    Empty,
    Data(RData),
    /// The zone's own name.
    Apex,
}

/// A name in a zone that is answered here.
struct Local {
    /// Labels of the zone's name.
    depth: usize,
    holds: Holds,
}

impl Zone {
    /// The names of `records`, in the network `subnet` if there is one already. Of two records with
    /// one name or one address, the last counts.
    #[must_use]
    pub fn new(records: Vec<Record>, subnet: Option<Subnet>) -> Self {
        let mut zone = Self { subnet, ..Self::default() };
        for (place, record) in records.iter().enumerate() {
            zone.by_name.insert(record.name.clone(), place);
            zone.by_guest.extend(record.guest.map(|address| (address, place)));
            zone.by_host.extend(record.host.map(|address| (address, place)));
        }
        Self { records, ..zone }
    }

    /// Whether the guest with `address` may go out.
    #[must_use]
    pub fn nat(&self, address: Ipv4Addr) -> bool {
        self.by_guest.get(&address).is_some_and(|place| self.records[*place].nat)
    }

    /// The VM whose address on the host is asked for, if it has one.
    pub(super) fn asked_vm(&self, query: &Query) -> Option<&VmName> {
        let name = query.name.to_lowercase();
        let labels: Vec<&[u8]> = name.iter().collect();
        let [label, domain] = labels[..] else { return None };
        if query.query_type != RecordType::A || domain != DOMAIN.as_bytes() {
            return None;
        }
        let name = str::from_utf8(label).ok()?.parse::<VmName>().ok()?;
        let record = &self.records[*self.by_name.get(&name)?];
        record.host.map(|_| &record.name)
    }

    fn is_network(&self, address: Ipv4Addr) -> bool {
        self.subnet.is_some_and(|subnet| subnet.overlaps(address, 32))
    }

    /// What `label.vm` is.
    fn vm(&self, asker: Asker, label: &[u8]) -> Holds {
        if let (Asker::Guest(_), Some(subnet)) = (asker, self.subnet)
            && label == GATEWAY.as_bytes()
        {
            return Holds::Data(RData::A(A(subnet.gateway())));
        }
        let name = str::from_utf8(label).ok().and_then(|label| label.parse::<VmName>().ok());
        let Some(place) = name.and_then(|name| self.by_name.get(&name)) else {
            return Holds::Nothing;
        };
        let record = &self.records[*place];
        let address = match asker {
            Asker::Host => record.host,
            Asker::Guest(_) => record.guest,
        };
        address.map_or(Holds::Empty, |address| Holds::Data(RData::A(A(address))))
    }

    /// Whose address `address` is; none when that is not answered here.
    fn reverse(&self, asker: Asker, address: Ipv4Addr) -> Option<Local> {
        let [a, b, ..] = address.octets();
        let (depth, table) = match asker {
            // A network need not end where a label does; the zone is what the last byte varies in.
            _ if self.is_network(address) => (5, &self.by_guest),
            Asker::Host if [a, b] == LOOPBACK => (4, &self.by_host),
            _ => return None,
        };
        let gateway = self.subnet.is_some_and(|subnet| subnet.gateway() == address);
        let name = match table.get(&address) {
            Some(place) => Some(self.records[*place].name.as_str()),
            None if gateway && asker != Asker::Host => Some(GATEWAY),
            None => None,
        };
        let name = name.and_then(|name| Name::from_ascii(format!("{name}.{DOMAIN}.")).ok());
        let holds = name.map_or(Holds::Nothing, |name| Holds::Data(RData::PTR(PTR(name))));
        Some(Local { depth, holds })
    }

    /// What the name with these lower-case labels, the last one first, is; none when that is not
    /// answered here.
    fn find(&self, asker: Asker, labels: &[&[u8]]) -> Option<Local> {
        match (asker, labels) {
            (_, [domain, rest @ ..]) if *domain == DOMAIN.as_bytes() => {
                let holds = match rest {
                    [] => Holds::Apex,
                    [label] => self.vm(asker, label),
                    _ => Holds::Nothing,
                };
                Some(Local { depth: 1, holds })
            }
            (_, [b"arpa", b"in-addr", bytes @ ..]) => {
                let address = parse_reverse(bytes);
                let found = address.and_then(|address| self.reverse(asker, address));
                found.or_else(|| match (asker, bytes) {
                    (Asker::Host, [b"127", b"77", rest @ ..]) => {
                        // Beneath it are addresses, at the very depth of addresses.
                        let holds = match rest {
                            [] => Holds::Apex,
                            [byte] if parse_byte(byte).is_some() => Holds::Empty,
                            _ => Holds::Nothing,
                        };
                        Some(Local { depth: 4, holds })
                    }
                    (Asker::Host, _) => None,
                    (Asker::Guest(_), _) => local_only(labels),
                })
            }
            (Asker::Host, _) => None,
            (Asker::Guest(_), _) => local_only(labels),
        }
    }
}

/// Names that mean something else in each place, so that asking others for them can only tell those
/// what is asked here, or bring answers that are wrong:
///
/// - `localhost` (RFC 6761), and the reverse of 127/8, 169.254/16 and 0/8 (RFC 6303);
/// - `invalid` (RFC 6761) and `onion` (RFC 7686), which never exist in the DNS.
///
/// Not among them, since the host's resolvers may be the very ones that know them: `local`,
/// `internal`, `home.arpa`, and the reverse of private networks.
fn local_only(labels: &[&[u8]]) -> Option<Local> {
    let (depth, rest) = match labels {
        [b"localhost", ..] => {
            return Some(Local { depth: 1, holds: Holds::Data(RData::A(A(Ipv4Addr::LOCALHOST))) });
        }
        [b"invalid" | b"onion", rest @ ..] => (1, rest),
        [b"arpa", b"in-addr", b"127" | b"0", rest @ ..] => (3, rest),
        [b"arpa", b"in-addr", b"169", b"254", rest @ ..] => (4, rest),
        _ => return None,
    };
    Some(Local { depth, holds: if rest.is_empty() { Holds::Apex } else { Holds::Nothing } })
}

/// The address whose reverse name has these labels before `in-addr.arpa`, the last one first.
fn parse_reverse(labels: &[&[u8]]) -> Option<Ipv4Addr> {
    let labels: &[&[u8]; 4] = labels.try_into().ok()?;
    let mut bytes = [0; 4];
    for (byte, label) in bytes.iter_mut().zip(labels) {
        *byte = parse_byte(label)?;
    }
    Some(bytes.into())
}

/// A number as reverse names have it: without zeroes before it or a sign, else one address had
/// several names.
fn parse_byte(label: &[u8]) -> Option<u8> {
    let plain = label.iter().all(u8::is_ascii_digit) && (label.len() == 1 || label[0] != b'0');
    str::from_utf8(label).ok().filter(|_| plain)?.parse().ok()
}

/// What `zone` says to `query`, when `asker` asks.
#[must_use]
pub fn lookup(zone: &Zone, asker: Asker, query: &Query) -> Answer {
    if query.query_class != DNSClass::IN {
        return Answer::Refused;
    }
    let lower = query.name.to_lowercase();
    let labels: Vec<&[u8]> = lower.iter().rev().collect();
    if let Some(Local { depth, holds }) = zone.find(asker, &labels) {
        return judge(query, holds, query.name.trim_to(depth));
    }
    match asker {
        Asker::Host => Answer::Refused,
        // A name of one label is one that the search list was to complete. No host has one in the
        // DNS, and others need not hear what this guest mistypes.
        Asker::Guest(_) if labels.len() == 1 && asks_address(query) => Answer::NoName(Name::root()),
        Asker::Guest(address) if zone.nat(address) => Answer::Forward,
        Asker::Guest(_) => Answer::Refused,
    }
}

fn asks_address(query: &Query) -> bool {
    matches!(query.query_type, RecordType::A | RecordType::AAAA)
}

fn judge(query: &Query, holds: Holds, zone: Name) -> Answer {
    match (holds, query.query_type) {
        (Holds::Nothing, _) => Answer::NoName(zone),
        // No name has more than one record: to say it is all there is to say (RFC 8482, 4.1).
        (Holds::Data(data), kind) if kind == data.record_type() || kind == RecordType::ANY => {
            Answer::Data(data)
        }
        (Holds::Apex, RecordType::SOA | RecordType::ANY) => {
            Answer::Data(RData::SOA(super::packet::soa(zone)))
        }
        (Holds::Empty | Holds::Data(_) | Holds::Apex, _) => Answer::NoData(zone),
    }
}
