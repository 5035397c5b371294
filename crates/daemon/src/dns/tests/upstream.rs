//! Resolvers of all kinds, each on a port of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, TXT};
use hickory_proto::rr::{Name, RData, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::task::AbortOnDropHandle;

use crate::dns::Sockets;

/// Where a good resolver says that everything is.
pub(super) const GOOD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Where a lying one does.
const LIE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 66);

/// What a resolver does when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Says [`GOOD`].
    Answers,
    /// Says nothing.
    Silent,
    /// Says that it cannot.
    Fails,
    /// Says wrong things: of another id, to another question, as a question, in nobody's words and from
    /// another port.
    Lies,
    /// Has more to say than a datagram takes, and says so.
    Truncates,
    /// Has more to say than was allowed, and says it.
    Overflows,
}

/// Packets: each question, and what there was to say to it.
type Heard = Arc<Mutex<Vec<(Vec<u8>, Vec<u8>)>>>;

/// A resolver.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    /// What was asked and said, by UDP.
    pub(super) heard: Heard,
    _loops: [AbortOnDropHandle<()>; 2],
}

impl Upstream {
    pub(super) fn start(manner: Manner) -> Self {
        let sockets = Sockets::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = sockets.udp.local_addr().unwrap();
        sockets.udp.set_nonblocking(true).unwrap();
        sockets.tcp.set_nonblocking(true).unwrap();
        let udp = UdpSocket::from_std(sockets.udp).unwrap();
        let tcp = TcpListener::from_std(sockets.tcp).unwrap();
        let heard = Heard::default();
        let loops = [
            tokio::spawn(by_udp(udp, manner, Arc::clone(&heard))),
            tokio::spawn(by_tcp(tcp, manner)),
        ];
        Self { address, heard, _loops: loops.map(AbortOnDropHandle::new) }
    }

    pub(super) fn asked(&self) -> usize {
        self.heard.lock().unwrap().len()
    }
}

/// An address on which nobody listens.
pub(super) fn dead() -> SocketAddr {
    Sockets::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap().udp.local_addr().unwrap()
}

fn reply(asked: &Message, address: Ipv4Addr) -> Message {
    let mut reply = asked.clone();
    reply.metadata.message_type = MessageType::Response;
    reply.metadata.recursion_available = true;
    let data = RData::A(A(address));
    reply.add_answer(Record::from_rdata(asked.queries[0].name.clone(), 77, data));
    reply
}

fn long(asked: &Message) -> Message {
    let mut reply = reply(asked, GOOD);
    for number in 0..20 {
        let text = RData::TXT(TXT::new(vec![format!("{number:0>100}")]));
        reply.add_answer(Record::from_rdata(asked.queries[0].name.clone(), 77, text));
    }
    reply
}

async fn by_udp(udp: UdpSocket, manner: Manner, heard: Heard) {
    let elsewhere = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut packet = vec![0; 4096];
    loop {
        let (length, peer) = udp.recv_from(&mut packet).await.unwrap();
        let asked = Message::from_vec(&packet[..length]).unwrap();
        let mut said = reply(&asked, GOOD);
        match manner {
            Manner::Answers => {}
            Manner::Silent => said.queries.clear(),
            Manner::Fails => {
                said.answers.clear();
                said.metadata.response_code = ResponseCode::ServFail;
            }
            Manner::Lies => {
                let lie = reply(&asked, LIE);
                let (mut id, mut name, mut question) = (lie.clone(), lie.clone(), lie.clone());
                id.metadata.id ^= 1;
                name.queries[0].name = Name::from_ascii("other.example.").unwrap();
                question.metadata.message_type = MessageType::Query;
                for lie in [id, name, question] {
                    udp.send_to(&lie.to_vec().unwrap(), peer).await.unwrap();
                }
                udp.send_to(&packet[..1], peer).await.unwrap();
                elsewhere.send_to(&lie.to_vec().unwrap(), peer).await.unwrap();
            }
            Manner::Truncates => said.metadata.truncation = true,
            Manner::Overflows => said = long(&asked),
        }
        let said = said.to_vec().unwrap();
        heard.lock().unwrap().push((packet[..length].to_vec(), said.clone()));
        if !matches!(manner, Manner::Silent | Manner::Lies) {
            udp.send_to(&said, peer).await.unwrap();
        }
    }
}

async fn by_tcp(tcp: TcpListener, manner: Manner) {
    loop {
        let (mut stream, _) = tcp.accept().await.unwrap();
        let length = stream.read_u16().await.unwrap();
        let mut packet = vec![0; length.into()];
        stream.read_exact(&mut packet).await.unwrap();
        if manner == Manner::Truncates {
            let said = long(&Message::from_vec(&packet).unwrap()).to_vec().unwrap();
            stream.write_u16(said.len().try_into().unwrap()).await.unwrap();
            stream.write_all(&said).await.unwrap();
        }
    }
}
