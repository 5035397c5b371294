//! The services for ports, with listeners of the test's own.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use banger_agent::{Context, Hosted};
use banger_proto::Code;
use banger_proto::guest::frame::Kind;
use banger_proto::guest::{ForwardRequest, PortChange, PortListener, PortProtocol, Service};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use crate::host::{Stream, configured, within};

/// What the host knows of listeners.
#[derive(Default)]
struct Known(BTreeMap<(PortProtocol, IpAddr, u16), PortListener>);

impl Known {
    async fn open(context: &Arc<Context>) -> (Self, Stream) {
        let mut stream = Stream::open(context, &Service::Ports).await;
        stream.accepted::<Value>().await;
        let mut known = Self::default();
        while known.hear(&mut stream).await {}
        (known, stream)
    }

    /// Takes one change; false when that was all for the beginning.
    async fn hear(&mut self, stream: &mut Stream) -> bool {
        let frame = stream.next().await.expect("a change");
        assert_eq!(frame.kind, Kind::Event);
        match frame.parse().unwrap() {
            PortChange::Opened(listener) => {
                let key = (listener.protocol, listener.address, listener.port);
                self.0.insert(key, listener);
            }
            PortChange::Closed(listener) => {
                let key = (listener.protocol, listener.address, listener.port);
                assert!(self.0.remove(&key).is_some(), "{listener:?} was never told");
            }
            PortChange::Settled => return false,
        }
        true
    }

    fn get(&self, protocol: PortProtocol, address: SocketAddr) -> Option<&PortListener> {
        self.0.get(&(protocol, address.ip(), address.port()))
    }
}

#[tokio::test]
async fn listeners_are_told_as_they_come_and_go() {
    let context = configured().await;
    let before = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (mut known, mut stream) = Known::open(&context).await;
    let told = known.get(PortProtocol::Tcp, before.local_addr().unwrap()).expect("told at once");
    assert_eq!(told.process.as_ref().expect("the test's own").pid, std::process::id());
    assert!(known.get(PortProtocol::Udp, udp.local_addr().unwrap()).is_some());

    let after = TcpListener::bind("[::1]:0").await.unwrap();
    let address = after.local_addr().unwrap();
    while known.get(PortProtocol::Tcp, address).is_none() {
        known.hear(&mut stream).await;
    }
    drop(after);
    while known.get(PortProtocol::Tcp, address).is_some() {
        known.hear(&mut stream).await;
    }
    assert!(known.get(PortProtocol::Tcp, before.local_addr().unwrap()).is_some());
}

#[tokio::test]
async fn who_hangs_up_is_told_no_more() {
    let context = configured().await;
    let (_, Stream { mut reader, mut writer }) = Known::open(&context).await;
    within(writer.bytes().shutdown()).await.unwrap();
    while within(reader.next()).await.unwrap().is_some() {}
}

/// Asks for a connection, and gives it without its frames.
async fn connect(context: &Arc<Context>, port: u16) -> DuplexStream {
    let mut stream = Stream::open(context, &Service::Forward(ForwardRequest { port })).await;
    stream.accepted::<Value>().await;
    stream.reader.into_inner().unsplit(stream.writer.into_inner())
}

async fn listen(address: &str) -> (TcpListener, u16) {
    let listener = TcpListener::bind(address).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

async fn accept(listener: &TcpListener) -> TcpStream {
    within(listener.accept()).await.unwrap().0
}

#[tokio::test]
async fn bytes_go_both_ways_and_each_end_alone() {
    let context = configured().await;
    for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0", "127.7.7.7:0"] {
        let (listener, port) = listen(address).await;
        let mut host = connect(&context, port).await;
        let mut server = accept(&listener).await;
        let all: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
        let ask = async {
            host.write_all(b"question").await.unwrap();
            host.shutdown().await.unwrap();
            let mut answer = Vec::new();
            host.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let serve = async {
            let mut question = Vec::new();
            server.read_to_end(&mut question).await.unwrap();
            assert_eq!(question, b"question", "{address}");
            server.write_all(&all).await.unwrap();
            drop(server);
        };
        let (answer, ()) = within(async { tokio::join!(ask, serve) }).await;
        assert!(answer == all, "{address}: {} bytes", answer.len());
    }
}

#[tokio::test]
async fn a_server_may_speak_first_and_end_first() {
    let context = configured().await;
    let (listener, port) = listen("127.0.0.1:0").await;
    let mut host = connect(&context, port).await;
    let mut server = accept(&listener).await;
    server.write_all(b"hello").await.unwrap();
    server.shutdown().await.unwrap();
    let mut heard = Vec::new();
    within(host.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard, b"hello");
    host.write_all(b"thanks").await.unwrap();
    host.shutdown().await.unwrap();
    let mut said = Vec::new();
    within(server.read_to_end(&mut said)).await.unwrap();
    assert_eq!(said, b"thanks");
}

#[tokio::test]
async fn a_port_without_a_listener_is_refused_by_its_number() {
    let context = configured().await;
    // Has the port and does not listen, so that nobody else does.
    let taken = TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = taken.local_addr().unwrap().port();
    let service = Service::Forward(ForwardRequest { port });
    let problem = Stream::open(&context, &service).await.refused().await;
    assert_eq!(problem.code, Code::NotFound);
    assert!(problem.message.contains(&format!("port {port} ")), "{problem:?}");
    assert_eq!(problem.causes, ["connection refused"]);
}

#[tokio::test]
async fn a_guest_that_is_not_configured_has_no_ports() {
    let context = Context::hosted(Hosted::default());
    for service in [Service::Ports, Service::Forward(ForwardRequest { port: 1 })] {
        assert_eq!(Stream::open(&context, &service).await.refused().await.code, Code::Conflict);
    }
}

#[tokio::test]
async fn a_host_that_is_gone_is_not_written_to_for_ever() {
    let context = configured().await;
    let (listener, port) = listen("127.0.0.1:0").await;
    let host = connect(&context, port).await;
    let mut server = accept(&listener).await;
    drop(host);
    // The stream of the test says an end there where that of the link says a reset.
    let mut heard = Vec::new();
    within(server.read_to_end(&mut heard)).await.unwrap();
    let chunk = [0; 64 << 10];
    within(async { while server.write_all(&chunk).await.is_ok() {} }).await;
}

#[tokio::test]
async fn a_server_that_breaks_off_ends_the_stream() {
    let context = configured().await;
    let (listener, port) = listen("127.0.0.1:0").await;
    let mut host = connect(&context, port).await;
    let server = accept(&listener).await;
    server.set_zero_linger().unwrap();
    drop(server);
    let mut heard = Vec::new();
    within(host.read_to_end(&mut heard)).await.unwrap();
}

#[tokio::test]
async fn hundreds_at_once_do_not_wait_for_each_other() {
    let context = configured().await;
    let (listener, port) = listen("127.0.0.1:0").await;
    let serve = async {
        let mut servers = Vec::new();
        for _ in 0..300 {
            servers.push(accept(&listener).await);
        }
        servers
    };
    let ask = async {
        let mut hosts = Vec::new();
        for _ in 0..300 {
            hosts.push(connect(&context, port).await);
        }
        hosts
    };
    let (mut servers, mut hosts) = tokio::join!(serve, ask);
    // All are open; the last are served first.
    while let (Some(mut server), Some(mut host)) = (servers.pop(), hosts.pop()) {
        server.write_all(b"x").await.unwrap();
        let mut byte = [0];
        within(host.read_exact(&mut byte)).await.unwrap();
    }
}
