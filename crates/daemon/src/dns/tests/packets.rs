//! Packets, well-formed and hostile.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use proptest::prelude::*;

use super::{extended, question};
use crate::dns::check::{self, zone};
use crate::dns::{Asker, Transport, Verdict, answer};

fn asked(message: &Message) -> Message {
    let mut reply = Vec::new();
    let packet = message.to_vec().unwrap();
    let verdict = answer(&zone(), Asker::Host, Transport::Udp, &packet, &mut reply);
    assert_eq!(verdict, Verdict::Answered);
    Message::from_vec(&reply).unwrap()
}

#[test]
fn an_answer_is_authoritative_short_lived_and_of_the_askers_letters() {
    let reply = asked(&question(7, "wEb.vM.", RecordType::A));
    let header = reply.metadata;
    assert!(header.authoritative && header.recursion_desired && !header.recursion_available);
    assert_eq!((header.id, header.response_code), (7, ResponseCode::NoError));
    assert!(reply.queries[0].name.eq_case(&Name::from_ascii("wEb.vM.").unwrap()));
    assert_eq!(reply.answers.len(), 1);
    assert!(reply.answers[0].ttl <= 5);
    assert!(reply.edns.is_none(), "nobody spoke of EDNS");
}

#[test]
fn what_is_not_there_has_the_zones_record() {
    let kinds = [("web.vm.", ResponseCode::NoError), ("no.vm.", ResponseCode::NXDomain)];
    for (name, code) in kinds {
        let reply = asked(&question(1, name, RecordType::AAAA));
        assert_eq!(reply.metadata.response_code, code);
        assert!(reply.metadata.authoritative && reply.answers.is_empty());
        let [soa] = &reply.authorities[..] else { panic!("{reply:?}") };
        assert_eq!((soa.record_type(), soa.name.to_string()), (RecordType::SOA, "vm.".to_owned()));
        assert!(soa.ttl <= 5);
    }
    let reply = asked(&question(1, "example.com.", RecordType::A));
    assert_eq!(reply.metadata.response_code, ResponseCode::Refused);
    assert!(!reply.metadata.authoritative && reply.authorities.is_empty());
}

#[test]
fn edns_is_answered_in_kind() {
    let mut message = extended(1, "web.vm.", RecordType::A, 4096);
    message.edns.as_mut().unwrap().set_dnssec_ok(true);
    let edns = asked(&message).edns.unwrap();
    assert_eq!((edns.version(), edns.max_payload(), edns.flags().dnssec_ok), (0, 1232, true));
    message.edns.as_mut().unwrap().set_version(1);
    let reply = asked(&message);
    // 16 has two names, BADVERS and BADSIG.
    assert_eq!(u16::from(reply.metadata.response_code), u16::from(ResponseCode::BADVERS));
    assert!(reply.answers.is_empty());
}

#[test]
fn senseless_questions_get_a_header() {
    let update = Message::new(1, MessageType::Query, OpCode::Update);
    assert_eq!(asked(&update).metadata.response_code, ResponseCode::NotImp);
    let none = Message::new(1, MessageType::Query, OpCode::Query);
    let mut two = question(1, "web.vm.", RecordType::A);
    two.add_query(two.queries[0].clone());
    for message in [none, two] {
        let reply = asked(&message);
        assert_eq!(reply.metadata.response_code, ResponseCode::FormErr);
        assert!(reply.queries.is_empty());
    }
    let whole = extended(1, "web.vm.", RecordType::A, 512).to_vec().unwrap();
    let mut twice = whole.clone();
    twice.extend_from_slice(&whole[whole.len() - 11..]);
    twice[11] = 2;
    // Cut anywhere, and with two parts of EDNS.
    let cut = (12..whole.len()).map(|length| whole[..length].to_vec());
    for packet in cut.chain([twice]) {
        let mut reply = Vec::new();
        let verdict = answer(&zone(), Asker::Host, Transport::Udp, &packet, &mut reply);
        assert_eq!(verdict, Verdict::Answered);
        let reply = Message::from_vec(&reply).unwrap();
        assert_eq!(reply.metadata.response_code, ResponseCode::FormErr);
    }
}

#[test]
fn what_is_no_question_gets_nothing() {
    let mut answered = question(1, "web.vm.", RecordType::A);
    answered.metadata.message_type = MessageType::Response;
    for packet in [answered.to_vec().unwrap(), vec![0; 11], Vec::new()] {
        let mut reply = Vec::new();
        let verdict = answer(&zone(), Asker::Host, Transport::Udp, &packet, &mut reply);
        assert_eq!((verdict, reply.len()), (Verdict::Silent, 0));
    }
}

/// A label of any bytes, often one that means something.
fn label() -> impl Strategy<Value = Vec<u8>> {
    let known = ["vm", "VM", "web", "host", "arpa", "in-addr", "127", "77", "0", "2", "localhost"];
    prop_oneof![
        prop::sample::select(known.map(|label| label.as_bytes().to_vec()).to_vec()),
        prop::collection::vec(any::<u8>(), 1..64),
    ]
}

fn name() -> impl Strategy<Value = Name> {
    // More labels than fit are none.
    prop::collection::vec(label(), 0..8)
        .prop_filter_map("too long", |labels| Name::from_labels(labels).ok())
}

proptest! {
    #[test]
    fn any_bytes(packet in prop::collection::vec(any::<u8>(), 0..600)) {
        check::packet(&zone(), &packet);
    }

    #[test]
    fn any_question_with_any_damage(
        name in name(),
        kind in any::<u16>(),
        class in any::<u16>(),
        edns in any::<Option<u16>>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut message = question(3, ".", RecordType::from(kind));
        message.queries[0].name = name;
        // Mostly the class of the internet, else everything is refused.
        message.queries[0].query_class = (if class < 60_000 { 1 } else { class }).into();
        if let Some(size) = edns {
            let mut edns = Edns::new();
            edns.set_max_payload(size);
            message.set_edns(edns);
        }
        let mut packet = message.to_vec().unwrap();
        for (place, byte) in damage {
            let place = place.index(packet.len());
            packet[place] = byte;
        }
        check::packet(&zone(), &packet);
    }
}
