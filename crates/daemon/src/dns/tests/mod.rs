//! The zone as a table, packets as bytes, and servers on real sockets.

mod forward;
mod packets;
mod serving;
mod upstream;
mod zone;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};

/// A question as a stub resolver puts it.
fn question(id: u16, name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

/// The same from one that takes answers of up to `size` bytes.
fn extended(id: u16, name: &str, kind: RecordType, size: u16) -> Message {
    let mut message = question(id, name, kind);
    let mut edns = Edns::new();
    edns.set_max_payload(size);
    message.set_edns(edns);
    message
}
