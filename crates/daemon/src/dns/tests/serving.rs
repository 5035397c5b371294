//! A server on real sockets of the loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::question;
use crate::dns::check::zone;
use crate::dns::{BindError, DnsServer, Face, Names, Record, Resolvers, Sockets, Zone};

/// Longer than anything takes here.
const DEADLINE: Duration = Duration::from_secs(60);
pub(super) const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// A guest that may go out, and one that may not.
pub(super) const MAY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
pub(super) const MAY_NOT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// A server for guests with addresses of the loopback.
pub(super) fn for_guests(resolvers: Vec<SocketAddr>) -> (DnsServer, Names) {
    let record = |name: &str, guest, nat| Record {
        name: name.parse().unwrap(),
        guest: Some(guest),
        host: None,
        nat,
    };
    let records = vec![record("web", MAY, true), record("db", MAY_NOT, false)];
    let names = Names::default();
    names.publish(Zone::new(records, Some("172.30.0.0/24".parse().unwrap())));
    let face = Face::Guests(Resolvers::these(resolvers));
    let sockets = Sockets::bind(ANY_PORT).unwrap();
    (DnsServer::start(face, sockets, names.subscribe()).unwrap(), names)
}

fn for_host() -> (DnsServer, Names) {
    let names = Names::default();
    names.publish(zone());
    let server = names.serve_host(Some(ANY_PORT)).unwrap();
    (server, names)
}

/// Somebody who asks by UDP.
pub(super) struct Client(UdpSocket);

impl Client {
    pub(super) async fn of(server: &DnsServer, from: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind((from, 0)).await.unwrap();
        socket.connect(server.address()).await.unwrap();
        Self(socket)
    }

    pub(super) async fn send(&self, message: &Message) {
        self.0.send(&message.to_vec().unwrap()).await.unwrap();
    }

    pub(super) async fn receive(&self) -> Vec<u8> {
        let mut packet = vec![0; 4096];
        let length = timeout(DEADLINE, self.0.recv(&mut packet)).await.unwrap().unwrap();
        packet[..length].to_vec()
    }

    pub(super) async fn ask(&self, message: &Message) -> Message {
        self.send(message).await;
        Message::from_vec(&self.receive().await).unwrap()
    }
}

pub(super) async fn connect(server: &DnsServer, from: Ipv4Addr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(server.address()).await.unwrap()
}

pub(super) fn frame(message: &Message) -> Vec<u8> {
    let packet = message.to_vec().unwrap();
    [&u16::try_from(packet.len()).unwrap().to_be_bytes()[..], &packet].concat()
}

pub(super) async fn receive(stream: &mut TcpStream) -> Message {
    let reading = async {
        let mut packet = vec![0; stream.read_u16().await.unwrap().into()];
        stream.read_exact(&mut packet).await.unwrap();
        Message::from_vec(&packet).unwrap()
    };
    timeout(DEADLINE, reading).await.unwrap()
}

/// Waits until the server ends the connection.
async fn wait_for_end(mut stream: TcpStream) {
    let end = timeout(DEADLINE, stream.read(&mut [0])).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

pub(super) fn address(reply: &Message) -> Option<Ipv4Addr> {
    match reply.answers.first().map(|record| &record.data) {
        Some(RData::A(address)) => Some(address.0),
        _ => None,
    }
}

#[tokio::test]
async fn names_by_udp_are_those_of_the_moment() {
    let (server, names) = for_host();
    let client = Client::of(&server, Ipv4Addr::LOCALHOST).await;
    let web = question(1, "web.vm.", RecordType::A);
    assert_eq!(address(&client.ask(&web).await), Some([127, 77, 0, 2].into()));
    names.publish(Zone::default());
    let reply = client.ask(&web).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    // Nothing is said to what is no question: the next answer is that to the next question.
    client.0.send(b"\x00\x02\x80").await.unwrap();
    assert_eq!(client.ask(&question(3, "vm.", RecordType::A)).await.metadata.id, 3);
}

#[tokio::test]
async fn one_connection_has_any_number_of_questions() {
    let (server, _names) = for_host();
    let mut stream = connect(&server, Ipv4Addr::LOCALHOST).await;
    let questions = [(1, "web.vm."), (2, "db.vm."), (3, "no.vm.")];
    let together = questions.map(|(id, name)| frame(&question(id, name, RecordType::A))).concat();
    // The last one comes in two pieces.
    let (now, later) = together.split_at(together.len() - 3);
    stream.write_all(now).await.unwrap();
    let mut addresses = Vec::new();
    for (id, _) in &questions[..2] {
        let reply = receive(&mut stream).await;
        assert_eq!(reply.metadata.id, *id);
        addresses.push(address(&reply).unwrap().to_string());
    }
    assert_eq!(addresses, ["127.77.0.2", "127.77.0.3"]);
    stream.write_all(later).await.unwrap();
    assert_eq!(receive(&mut stream).await.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_loses_the_connection() {
    let (server, _names) = for_host();
    let mut half = connect(&server, Ipv4Addr::LOCALHOST).await;
    half.write_all(&[0]).await.unwrap();
    wait_for_end(half).await;
}

#[tokio::test]
async fn connections_have_places() {
    let (server, _names) = for_guests(Vec::new());
    let mut served = Vec::new();
    for id in 0..32 {
        let mut stream = connect(&server, MAY).await;
        // Answered, so it has its place.
        stream.write_all(&frame(&question(id, "web.vm.", RecordType::A))).await.unwrap();
        receive(&mut stream).await;
        served.push(stream);
    }
    wait_for_end(connect(&server, MAY).await).await;
    let mut other = connect(&server, MAY_NOT).await;
    other.write_all(&frame(&question(1, "web.vm.", RecordType::A))).await.unwrap();
    assert_eq!(address(&receive(&mut other).await), Some(MAY), "others have theirs");
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_and_given_back() {
    let (server, names) = for_host();
    let address = server.address();
    assert_eq!(names.status().listen, Some(address.to_string()));
    assert!(matches!(Sockets::bind(address), Err(BindError::InUse(taken)) if taken == address));
    let second = Names::default();
    assert!(second.serve_host(Some(address)).is_none());
    let status = second.status();
    assert_eq!(status.listen, None);
    assert_eq!(status.problem, Some(format!("another program listens on `{address}`")));
    drop(server);
    let free = async {
        while Sockets::bind(address).is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, free).await.unwrap();
    assert!(second.serve_host(None).is_none());
}

#[tokio::test]
async fn a_flood_leaves_time_for_others() {
    let (server, _names) = for_host();
    let address = server.address();
    let packet = question(1, "web.vm.", RecordType::A).to_vec().unwrap();
    let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flood = std::thread::spawn({
        let over = Arc::clone(&over);
        move || {
            let socket = std::net::UdpSocket::bind(ANY_PORT).unwrap();
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = socket.send_to(&packet, address);
            }
        }
    });
    // This task is one of the others: it gets its turn as often as it wants one.
    let turns = async {
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, turns).await.unwrap();
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    flood.join().unwrap();
}
