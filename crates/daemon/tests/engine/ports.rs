//! The host reaches what listens in guests: at each VM's own address, and at ports that were asked
//! for. The servers are the test's own, to which the real agent connects.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use banger_proto::api::{CreateVm, PortView, Publish, StateName, VmPorts, VmView};
use banger_proto::{Code, VmId};
use banger_testkit::{Boot, TestDaemon, TestEnv};
use hyper::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::idle::until_stopped;
use super::{create, create_fails, in_time, named, show};

/// A server in the guest.
async fn server() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    (listener, port)
}

/// A port of the host that nobody has.
async fn free_port() -> u16 {
    server().await.1
}

fn publish(host: u16, guest: u16) -> Publish {
    Publish { address: Ipv4Addr::LOCALHOST.into(), host, guest }
}

async fn ports(daemon: &TestDaemon, vm: &str) -> Vec<PortView> {
    daemon.client.get::<VmPorts>(&format!("/v1/vms/{vm}/ports")).await.ports
}

/// Asks until the ports are as `wanted`.
async fn until_ports(
    daemon: &TestDaemon,
    vm: &str,
    wanted: impl Fn(&[PortView]) -> bool,
) -> Vec<PortView> {
    in_time(async {
        loop {
            let ports = ports(daemon, vm).await;
            if wanted(&ports) {
                return ports;
            }
        }
    })
    .await
}

/// Where the host reaches a port that a guest has from now on. Whether it does is not asked: that
/// would knock at the server.
fn open(env: &TestEnv, vm: &VmView, port: u16) -> SocketAddr {
    env.world.listen(&vm.id, [port]);
    (vm.loopback.expect("an address of the host"), port).into()
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut said = String::new();
    in_time(stream.read_to_string(&mut said)).await.expect("a proper end");
    said
}

/// Connects as soon as somebody listens.
async fn connect(at: SocketAddr) -> TcpStream {
    in_time(async {
        loop {
            if let Ok(client) = TcpStream::connect(at).await {
                return client;
            }
        }
    })
    .await
}

/// Waits until nobody listens.
async fn until_refused(at: SocketAddr) {
    in_time(async { while TcpStream::connect(at).await.is_ok() {} }).await;
}

#[tokio::test]
async fn ports_come_and_go_with_their_listeners() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    let loopback = vm.loopback.expect("an address of the host");
    assert!(loopback.is_loopback());
    assert_eq!(ports(&daemon, "web").await, []);

    let (listener, port) = server().await;
    let at = open(&env, &vm, port);
    assert_eq!(at, SocketAddr::from((loopback, port)));
    let mut client = connect(at).await;
    let (mut guest, _) = in_time(listener.accept()).await.expect("a connection");
    // Who speaks first does not matter.
    guest.write_all(b"220 ready\n").await.expect("sent");
    let mut greeting = [0; 10];
    in_time(client.read_exact(&mut greeting)).await.expect("a greeting");
    assert_eq!(&greeting, b"220 ready\n");

    // The port goes, the connection stays.
    env.world.listen(&vm.id, []);
    until_refused(at).await;
    assert_eq!(ports(&daemon, "web").await, []);
    client.write_all(b"bye").await.expect("sent");
    client.shutdown().await.expect("an end");
    assert_eq!(read_all(&mut guest).await, "bye");
    drop(guest);
    assert_eq!(read_all(&mut client).await, "");

    let at = open(&env, &vm, port);
    drop(connect(at).await);
    let stopped: VmView = daemon.client.call(Method::POST, "/v1/vms/web/stop", ()).await.ok();
    assert_eq!(stopped.loopback, None);
    assert!(TcpStream::connect(at).await.is_err(), "the VM is down");
    let refused = daemon.client.call(Method::GET, "/v1/vms/web/ports", ()).await.problem();
    assert_eq!(refused.code, Code::Conflict);
    daemon.stop().await;
}

#[tokio::test]
async fn each_direction_has_an_end_of_its_own() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    let (listener, port) = server().await;
    let at = open(&env, &vm, port);

    // The client ends first and hears the answer all the same.
    let mut client = connect(at).await;
    let (mut guest, _) = in_time(listener.accept()).await.expect("a connection");
    client.write_all(b"question").await.expect("sent");
    client.shutdown().await.expect("an end");
    assert_eq!(read_all(&mut guest).await, "question");
    let answer = "answer".repeat(100_000);
    let (sent, heard) = tokio::join!(
        async {
            guest.write_all(answer.as_bytes()).await.expect("sent");
            guest.shutdown().await
        },
        read_all(&mut client)
    );
    sent.expect("an end");
    assert!(heard == answer, "{} bytes", heard.len());

    // The server ends first.
    let mut client = connect(at).await;
    let (mut guest, _) = in_time(listener.accept()).await.expect("a connection");
    guest.shutdown().await.expect("an end");
    assert_eq!(read_all(&mut client).await, "");
    client.write_all(b"and yet").await.expect("sent");
    client.shutdown().await.expect("an end");
    assert_eq!(read_all(&mut guest).await, "and yet");
    daemon.stop().await;
}

#[tokio::test]
async fn a_thousand_connections_at_once_wait_for_each_other() {
    const CLIENTS: usize = 1000;
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    let (listener, port) = server().await;
    let at = open(&env, &vm, port);
    drop(connect(at).await);
    in_time(listener.accept()).await.expect("the first");
    // Nobody is answered before as many are here as can be; commands have their share all the same.
    let (arrived, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (come, gate) = (Arc::clone(&arrived), Arc::clone(&go));
    let serving = tokio::spawn(async move {
        let mut served = JoinSet::new();
        loop {
            let (mut client, _) = listener.accept().await.expect("a connection");
            come.add_permits(1);
            let gate = Arc::clone(&gate);
            served.spawn(async move {
                let mut said = Vec::new();
                client.read_to_end(&mut said).await.expect("a request");
                gate.acquire().await.expect("a turn").forget();
                client.write_all(&said).await.expect("an answer");
            });
        }
    });
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(async move {
            let mut client = TcpStream::connect(at).await.expect("a connection");
            let said = format!("client {number}");
            client.write_all(said.as_bytes()).await.expect("sent");
            client.shutdown().await.expect("an end");
            assert_eq!(read_all(&mut client).await, said);
        });
    }
    let held = in_time(arrived.acquire_many(120)).await.expect("the first ones");
    let health = daemon.client.get::<serde_json::Value>("/v1/vms/web/ping").await;
    assert_eq!(health["name"], "web");
    assert_eq!(arrived.available_permits(), 0, "all others wait");
    held.forget();
    go.add_permits(CLIENTS);
    in_time(async { while clients.join_next().await.transpose().expect("served").is_some() {} })
        .await;
    serving.abort();
    daemon.stop().await;
}

#[tokio::test]
async fn connections_that_one_side_never_ends_hold_up_neither_the_vm_nor_the_next() {
    const STUCK: usize = 256;
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    let (listener, port) = server().await;
    let at = open(&env, &vm, port);
    drop(connect(at).await);
    in_time(listener.accept()).await.expect("the first");
    let mut clients = JoinSet::new();
    for _ in 0..STUCK {
        clients.spawn(async move {
            let mut client = TcpStream::connect(at).await.expect("a connection");
            client.write_all(b"question").await.expect("sent");
            client.shutdown().await.expect("an end");
            // Nobody answers. How it is cut off in the end does not matter.
            let _ = client.read_to_end(&mut Vec::new()).await;
        });
    }
    // As many as a VM has at a time, none of which ends.
    let mut kept = Vec::new();
    for _ in 0..120 {
        let (mut guest, _) = in_time(listener.accept()).await.expect("a connection");
        assert_eq!(read_all(&mut guest).await, "question");
        kept.push(guest);
    }
    let health = daemon.client.get::<serde_json::Value>("/v1/vms/web/ping").await;
    assert_eq!(health["name"], "web");

    let _: VmView = daemon.client.call(Method::POST, "/v1/vms/web/stop", ()).await.ok();
    in_time(async { while clients.join_next().await.is_some() {} }).await;
    daemon.client.events("/v1/vms/web/start", ()).await.ready().await;
    let at = open(&env, &vm, port);
    let mut client = connect(at).await;
    client.write_all(b"once more").await.expect("sent");
    client.shutdown().await.expect("an end");
    // Some of those before may have come as far as here when they were cut off.
    in_time(async {
        loop {
            let (mut guest, _) = listener.accept().await.expect("a connection");
            let mut said = String::new();
            if guest.read_to_string(&mut said).await.is_ok() && said == "once more" {
                break;
            }
        }
    })
    .await;
    drop(kept);
    daemon.stop().await;
}

#[tokio::test]
async fn thousands_of_connections_one_after_the_other() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    let (listener, port) = server().await;
    let at = open(&env, &vm, port);
    let serving = tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.expect("a connection");
            client.write_all(b"x").await.expect("sent");
        }
    });
    for _ in 0..2000 {
        assert_eq!(read_all(&mut connect(at).await).await, "x");
    }
    serving.abort();
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_taken_is_told_and_the_rest_is_there() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    let (_listener, port) = server().await;
    let (_other, free) = server().await;
    let at = (vm.loopback.expect("an address"), port);
    let taken = TcpListener::bind(at).await.expect("the port");
    env.world.listen(&vm.id, [port, free]);
    let told = until_ports(&daemon, "web", |ports| ports.len() == 2).await;
    let of = |wanted: u16| told.iter().find(|told| told.port == wanted).expect("told");
    assert_eq!(of(port).endpoint, None);
    assert!(of(port).problem.as_ref().is_some_and(|why| why.contains("taken")), "{told:?}");
    assert!(of(free).endpoint.is_some());
    drop(taken);
    daemon.stop().await;
}

#[tokio::test]
async fn http_has_a_url() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    let (http, web) = server().await;
    let (silent, mute) = server().await;
    let serving = tokio::spawn(async move {
        loop {
            let (mut client, _) = http.accept().await.expect("a connection");
            let _ = client.write_all(b"HTTP/1.0 200 OK\r\n\r\n").await;
            let _ = client.read_to_end(&mut Vec::new()).await;
        }
    });
    env.world.listen(&vm.id, [web, mute]);
    let told = until_ports(&daemon, "web", |ports| ports.len() == 2).await;
    for port in told {
        let at = port.endpoint.expect("an endpoint");
        let url = (port.port == web).then(|| format!("http://{at}"));
        assert_eq!(port.url, url);
        assert_eq!(port.process.expect("a process").name, "server");
    }
    drop(silent);
    serving.abort();
    daemon.stop().await;
}

#[tokio::test]
async fn published_ports_are_there_while_the_vm_runs_whoever_is_the_daemon() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let (listener, guest) = server().await;
    let published = publish(free_port().await, guest);
    let asked = CreateVm { publish: [published].into(), ..named("web") };
    let vm = daemon.client.events("/v1/vms", asked).await.ready().await;
    assert_eq!(vm.published, BTreeSet::from([published]));
    let serving = tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.expect("a connection");
            // Who only knocks may be gone.
            let _ = client.write_all(b"hello").await;
        }
    });
    let hello = async || read_all(&mut connect(published.endpoint()).await).await;
    assert_eq!(hello().await, "hello");
    env.world.listen(&vm.id, [guest]);
    let told = until_ports(&daemon, "web", |ports| !ports.is_empty()).await;
    assert_eq!(told[0].published, [published.endpoint()]);

    daemon.kill().await;
    let daemon = TestDaemon::start(&env).await;
    assert_eq!(hello().await, "hello");
    let told = until_ports(&daemon, "web", |ports| !ports.is_empty()).await;
    assert_eq!(told[0].endpoint.map(|at| at.port()), Some(guest));

    // A stop gives it back, a start has it again.
    for _ in 0..2 {
        let _: VmView = daemon.client.call(Method::POST, "/v1/vms/web/stop", ()).await.ok();
        drop(TcpListener::bind(published.endpoint()).await.expect("a free port"));
        daemon.client.events("/v1/vms/web/start", ()).await.ready().await;
        assert_eq!(hello().await, "hello");
    }
    serving.abort();
    daemon.stop().await;
}

#[tokio::test]
async fn a_published_port_that_cannot_be_had_fails_the_start() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let (taken, port) = server().await;
    let asked = |publish| CreateVm { publish: [publish].into(), ..named("web") };
    let refused = create_fails(&daemon, asked(publish(port, 80))).await;
    assert_eq!(refused.code, Code::Conflict);
    assert!(refused.message.contains(&format!("`127.0.0.1:{port}`")), "{refused:?}");
    let elsewhere = Publish { address: [192, 0, 2, 1].into(), ..publish(port, 80) };
    let refused = create_fails(&daemon, asked(elsewhere)).await;
    assert!(refused.causes[0].contains("`192.0.2.1` is no address"), "{refused:?}");
    assert_eq!(env.world.running(), [] as [VmId; 0], "nothing was started");

    drop(taken);
    daemon.client.events("/v1/vms", asked(publish(port, 80))).await.ready().await;
    let _: VmView = daemon.client.call(Method::POST, "/v1/vms/web/stop", ()).await.ok();
    let _taken = TcpListener::bind(("127.0.0.1", port)).await.expect("the port");
    let refused = daemon.client.events("/v1/vms/web/start", ()).await.failed().await;
    assert_eq!(refused.code, Code::Conflict);
    assert_eq!(show(&daemon, "web").await.state, StateName::Stopped);
    daemon.stop().await;
}

#[tokio::test]
async fn who_comes_before_the_guest_is_ready_waits() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let (listener, guest) = server().await;
    let port = free_port().await;
    let dir = tempfile::TempDir::new().expect("a directory");
    // The guest's root is a directory, where there is no repository: any boot is a boot.
    env.world.next_boot(Boot::InDirectory(dir.path().into()));
    let asked = CreateVm { publish: [publish(port, guest)].into(), ..named("web") };
    let mut work = daemon.client.events("/v1/vms", asked).await;
    in_time(env.world.launched(1)).await;
    let mut client = connect(([127, 0, 0, 1], port).into()).await;
    work.ready().await;
    let (mut server, _) = in_time(listener.accept()).await.expect("a connection");
    server.write_all(b"welcome").await.expect("sent");
    drop(server);
    assert_eq!(read_all(&mut client).await, "welcome");
    daemon.stop().await;
}

#[tokio::test]
async fn a_connection_keeps_a_vm_up() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    env.world.next_boot(Boot::Quiet);
    let asked = CreateVm { idle_stop_seconds: Some(1), ..named("web") };
    let vm = daemon.client.events("/v1/vms", asked).await.ready().await;
    let (listener, port) = server().await;
    let mut client = connect(open(&env, &vm, port)).await;
    let (mut guest, _) = in_time(listener.accept()).await.expect("a connection");
    // Longer than the period: would the VM go down, the connection would break.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    guest.write_all(b"still here").await.expect("sent");
    drop(guest);
    assert_eq!(read_all(&mut client).await, "still here");
    drop(client);
    until_stopped(&daemon, "web").await;
    daemon.stop().await;
}
