//! What holds of any packet: for the tests here and for the fuzzer, which has this file, too.

use hickory_proto::op::{Message, MessageType, OpCode};

use super::packet::{Transport, Verdict, answer};
use super::zone::{Asker, Record, Zone};

/// A zone with a VM that may go out, `web`, one that may not, `db`, and one without addresses.
pub(super) fn zone() -> Zone {
    let record = |name: &str, last: Option<u8>, nat| Record {
        name: name.parse().expect("a name"),
        guest: last.map(|last| [172, 30, 0, last].into()),
        host: last.map(|last| [127, 77, 0, last].into()),
        nat,
    };
    let records = vec![
        record("web", Some(2), true),
        record("db", Some(3), false),
        record("stopped", None, true),
    ];
    Zone::new(records, Some("172.30.0.0/24".parse().expect("a network")))
}

/// One asker of each kind: the host, a guest that may go out, one that may not, and one of which the
/// zone has no record.
pub(super) fn askers() -> [Asker; 4] {
    let guest = |last| Asker::Guest([172, 30, 0, last].into());
    [Asker::Host, guest(2), guest(3), guest(9)]
}

/// Whoever sends `packet` gets nothing that is too long, makes no sense, or is not for it to have.
pub(super) fn packet(zone: &Zone, packet: &[u8]) {
    let answerable = packet.len() >= 12 && packet[2] & 0x80 == 0;
    for asker in askers() {
        let mut reply = b"left from before".to_vec();
        match answer(zone, asker, Transport::Udp, packet, &mut reply) {
            Verdict::Silent => {
                assert!(!answerable, "a question stays without an answer");
                assert!(reply.is_empty());
            }
            Verdict::Answered => {
                assert!(answerable, "an answer to what is none");
                assert!(reply.len() <= 512, "{} bytes", reply.len());
                let said = Message::from_vec(&reply).expect("a message");
                assert_eq!(said.metadata.message_type, MessageType::Response);
                assert_eq!(&reply[..2], &packet[..2], "id");
                assert!(said.answers.len() + said.authorities.len() <= 1);
                // Two servers never talk.
                let mut more = Vec::new();
                let verdict = answer(zone, asker, Transport::Udp, &reply, &mut more);
                assert_eq!(verdict, Verdict::Silent);
            }
            Verdict::Forward(question) => {
                assert_eq!(asker, askers()[1], "only who may go out");
                let asked = question.to_forward(0xabcd);
                let said = Message::from_vec(&asked).expect("a message");
                assert_eq!(said.metadata.id, 0xabcd);
                assert_eq!(said.metadata.op_code, OpCode::Query);
                assert!(said.queries[0].name.eq_case(&question.query.name), "its letters");
                assert!(question.judge(0xabcd, &asked).is_none(), "a question is no answer");
                assert!(question.limit(Transport::Udp) <= 1232);
            }
        }
    }
}
