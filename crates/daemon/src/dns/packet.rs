//! Packets: a question out of hostile bytes, and bytes of an answer. Pure; the codec of names and
//! records is hickory's.
//!
//! What is not a question is answered with nothing at all (an answer to an answer would let two
//! servers talk for ever), and what is one that makes no sense, with a header only.

use banger_proto::VmName;
use hickory_proto::op::{
    Edns, Header, MessageType, Metadata, OpCode, Query, ResponseCode, emit_message_parts,
};
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder};

use super::zone::{Answer, Asker, Zone, lookup};

/// Longest answer by UDP to who names no size (RFC 1035, 2.3.4).
const UDP_LIMIT: u16 = 512;
/// Longest answer by UDP that is not torn into fragments on the way (dnsflagday.net/2020), and what
/// this server says it takes.
pub(super) const UDP_SIZE: u16 = 1232;
/// Seconds that an answer may be kept: as long as a VM that is made anew may be looked for in vain.
const TTL: u32 = 5;
/// Seconds that it may be kept that there is no such name: who waits for a VM asks often.
const NEGATIVE_TTL: u32 = 1;
/// Additional records of a question: EDNS, and a signature.
const MOST_ADDITIONAL: u16 = 2;

/// How a packet came, and so how its answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// As a datagram, which has a limit.
    Udp,
    /// On a stream.
    Tcp,
}

/// A question that makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Header of the question.
    pub(super) asked: Metadata,
    /// What is asked; the letters of its name as they came.
    pub(super) query: Query,
    /// What the asker said of itself.
    pub(super) edns: Option<Extension>,
}

/// What an asker says of itself (EDNS, RFC 6891).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extension {
    pub(super) size: u16,
    pub(super) version: u8,
    pub(super) dnssec: bool,
}

/// What a packet is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Packet {
    Question(Question),
    /// A question that is answered with this.
    Senseless(Metadata),
    /// Nothing to answer to.
    Other,
}

/// What became of a packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The answer is written.
    Answered,
    /// There is nothing to answer.
    Silent,
    /// The host's resolvers are to be asked.
    Forward(Box<Question>),
}

/// Answers `packet` of `asker` from `zone`: writes into `answer`, which loses what is in it.
pub fn answer(
    zone: &Zone,
    asker: Asker,
    transport: Transport,
    packet: &[u8],
    answer: &mut Vec<u8>,
) -> Verdict {
    answer.clear();
    let written = match parse(packet) {
        Packet::Other => return Verdict::Silent,
        Packet::Senseless(header) => emit(header, None, None, None, None, answer),
        Packet::Question(question) => {
            let found = lookup(zone, asker, &question.query);
            let recursion = matches!(asker, Asker::Guest(address) if zone.nat(address));
            match found {
                Answer::Forward => return Verdict::Forward(Box::new(question)),
                found => render(&question, found, recursion, answer),
            }
        }
    };
    // Answers from the zone are short: see `limit`. The codec has no other reason to fail.
    debug_assert!(transport == Transport::Tcp || answer.len() <= usize::from(UDP_LIMIT));
    if written { Verdict::Answered } else { Verdict::Silent }
}

/// The VM that the host reaches at an address which `packet` asks for.
pub(super) fn asked_vm(zone: &Zone, packet: &[u8]) -> Option<VmName> {
    match parse(packet) {
        Packet::Question(question) => zone.asked_vm(&question.query).cloned(),
        Packet::Senseless(_) | Packet::Other => None,
    }
}

fn parse(packet: &[u8]) -> Packet {
    let mut decoder = BinDecoder::new(packet);
    let Ok(Header { metadata: asked, counts }) = Header::read(&mut decoder) else {
        return Packet::Other;
    };
    if asked.message_type == MessageType::Response {
        return Packet::Other;
    }
    let senseless = |code| Packet::Senseless(reply(&asked, code));
    if asked.op_code != OpCode::Query {
        return senseless(ResponseCode::NotImp);
    }
    // Looked at before anything is read: numbers are a stranger's, and memory is ours.
    if (counts.queries, counts.answers, counts.authorities) != (1, 0, 0)
        || counts.additionals > MOST_ADDITIONAL
    {
        return senseless(ResponseCode::FormErr);
    }
    let Ok(query) = Query::read(&mut decoder) else { return senseless(ResponseCode::FormErr) };
    let mut edns = None;
    for _ in 0..counts.additionals {
        let Ok(record) = Record::<RData>::read(&mut decoder) else {
            return senseless(ResponseCode::FormErr);
        };
        if record.record_type() != RecordType::OPT {
            continue;
        }
        let [_, version, flags, _] = record.ttl.to_be_bytes();
        let size = u16::from(record.dns_class);
        let said = Extension { size, version, dnssec: flags & 0x80 != 0 };
        if !record.name.is_root() || edns.replace(said).is_some() {
            return senseless(ResponseCode::FormErr);
        }
    }
    Packet::Question(Question { asked, query, edns })
}

/// The header of an answer to `asked`.
fn reply(asked: &Metadata, code: ResponseCode) -> Metadata {
    let mut header = Metadata::response_from_request(asked);
    header.response_code = code;
    header
}

impl Question {
    /// Longest answer that the asker takes by `transport`.
    pub(super) fn limit(&self, transport: Transport) -> usize {
        let by_udp = self.edns.map_or(UDP_LIMIT, |said| said.size.clamp(UDP_LIMIT, UDP_SIZE));
        match transport {
            Transport::Udp => by_udp.into(),
            Transport::Tcp => u16::MAX.into(),
        }
    }

    /// What this server says of itself to who did so.
    fn extension(&self) -> Option<Edns> {
        self.edns.map(|said| render_edns(said.dnssec))
    }

    /// This question as it is put to a resolver, under `id`.
    pub(super) fn to_forward(&self, id: u16) -> Vec<u8> {
        let mut header = Metadata::new(id, MessageType::Query, OpCode::Query);
        header.recursion_desired = self.asked.recursion_desired;
        header.checking_disabled = self.asked.checking_disabled;
        header.authentic_data = self.asked.authentic_data;
        let edns = self.edns.map(|said| {
            let mut edns = render_edns(said.dnssec);
            // What comes back is passed on, so it has to be what the asker takes.
            edns.set_max_payload(said.size.clamp(UDP_LIMIT, UDP_SIZE));
            edns
        });
        let mut packet = Vec::with_capacity(usize::from(UDP_LIMIT));
        emit(header, Some(&self.query), None, None, edns.as_ref(), &mut packet);
        packet
    }

    /// Whether `packet` answers this question under `id`, and then how.
    pub(super) fn judge(&self, id: u16, packet: &[u8]) -> Option<Metadata> {
        let mut decoder = BinDecoder::new(packet);
        let Header { metadata: said, counts } = Header::read(&mut decoder).ok()?;
        let fits = said.id == id
            && said.message_type == MessageType::Response
            && said.op_code == OpCode::Query
            && counts.queries == 1;
        // Names are the same whatever their letters; whether those are the asker's, it checks itself.
        (fits && Query::read(&mut decoder).ok()? == self.query).then_some(said)
    }

    /// An answer without records.
    pub(super) fn fail(&self, code: ResponseCode) -> Vec<u8> {
        let mut header = reply(&self.asked, code);
        header.recursion_available = true;
        self.header_only(header)
    }

    /// An answer that says that it does not fit, so that it is asked for on a stream.
    pub(super) fn truncated(&self, said: &Metadata) -> Vec<u8> {
        let mut header = *said;
        header.id = self.asked.id;
        header.truncation = true;
        self.header_only(header)
    }

    fn header_only(&self, header: Metadata) -> Vec<u8> {
        let mut packet = Vec::with_capacity(usize::from(UDP_LIMIT));
        emit(header, Some(&self.query), None, None, self.extension().as_ref(), &mut packet);
        packet
    }
}

/// Writes an answer: one record at most, or why there is none. At most 12 bytes of header, 259 of the
/// question, 78 of a name or 64 of the zone's record with its owner, and 11 of EDNS.
fn render(question: &Question, found: Answer, recursion: bool, packet: &mut Vec<u8>) -> bool {
    let edns = question.extension();
    let mut header = reply(&question.asked, ResponseCode::NoError);
    header.recursion_available = recursion;
    header.authoritative = !matches!(found, Answer::Refused);
    // What a later version of EDNS asks for is not known (RFC 6891, 6.1.3).
    if question.edns.is_some_and(|said| said.version > 0) {
        header.response_code = ResponseCode::BADVERS;
        header.authoritative = false;
        return emit(header, Some(&question.query), None, None, edns.as_ref(), packet);
    }
    let (mut record, mut authority) = (None, None);
    match found {
        Answer::Data(data) => {
            record = Some(Record::from_rdata(question.query.name.clone(), TTL, data));
        }
        Answer::NoData(zone) => authority = Some(render_soa(zone)),
        Answer::NoName(zone) => {
            header.response_code = ResponseCode::NXDomain;
            authority = Some(render_soa(zone));
        }
        Answer::Refused | Answer::Forward => header.response_code = ResponseCode::Refused,
    }
    let (record, authority) = (record.as_ref(), authority.as_ref());
    emit(header, Some(&question.query), record, authority, edns.as_ref(), packet)
}

fn render_edns(dnssec: bool) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_SIZE).set_dnssec_ok(dnssec);
    edns
}

fn render_soa(zone: Name) -> Record {
    Record::from_rdata(zone.clone(), NEGATIVE_TTL, RData::SOA(soa(zone)))
}

/// The record of a zone that exists on this host only, as RFC 6303 (3) has it for such ones.
pub(super) fn soa(zone: Name) -> SOA {
    let nobody = Name::from_ascii("nobody.invalid.").unwrap_or_default();
    SOA::new(zone, nobody, 1, 3600, 1200, 604_800, NEGATIVE_TTL)
}

/// Writes a packet of these parts; says whether that went well.
fn emit(
    header: Metadata,
    query: Option<&Query>,
    answer: Option<&Record>,
    authority: Option<&Record>,
    edns: Option<&Edns>,
    packet: &mut Vec<u8>,
) -> bool {
    fn all<'a, T: BinEncodable + 'a>(part: Option<&'a T>) -> impl Iterator<Item = &'a T> {
        part.into_iter()
    }
    let written = emit_message_parts(
        &header,
        &mut all(query),
        &mut all(answer),
        &mut all(authority),
        &mut all(None::<&Record>),
        edns,
        None,
        &mut BinEncoder::new(packet),
    );
    if written.is_err() {
        packet.clear();
    }
    written.is_ok()
}
