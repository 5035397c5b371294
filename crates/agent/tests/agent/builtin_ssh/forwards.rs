//! `ssh -L` and `ssh -R`.

use tokio::net::TcpStream;
use tokio::process::Child;

use super::*;

/// A port nobody uses a moment ago.
async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// Answers one connection with what it sent, after it has sent all.
async fn answer_backwards(listener: TcpListener) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    all.reverse();
    stream.write_all(&all).await.unwrap();
}

async fn ask(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).await.unwrap();
    back
}

/// Starts a client that forwards, and waits until it does.
async fn forward(guest: &Guest, options: &[&str]) -> Child {
    let mut ssh = guest.client("ssh");
    ssh.args(["-oExitOnForwardFailure=yes"]).args(options);
    ssh.args(["root@127.0.0.1", "echo up; cat"]).stdin(Stdio::piped());
    let mut client = ssh.spawn().unwrap();
    let mut up = [0; 3];
    within(client.stdout.as_mut().unwrap().read_exact(&mut up)).await.unwrap();
    client
}

#[tokio::test]
async fn ports_are_forwarded_both_ways() {
    let guest = Guest::new().await;
    let sent = noise(3 << 20);
    let mut reversed = sent.clone();
    reversed.reverse();
    for way in ["-L", "-R"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap().port();
        let port = free_port().await;
        let spec = format!("127.0.0.1:{port}:localhost:{target}");
        let mut client = forward(&guest, &[way, &spec]).await;
        let answer = tokio::spawn(answer_backwards(listener));
        assert!(within(ask(port, &sent)).await == reversed, "{way}");
        within(answer).await.unwrap();
        // Nobody listens there any more, which is the client's to be told.
        assert_eq!(within(ask_quietly(port)).await, 0);
        drop(client.stdin.take());
        assert!(within(client.wait()).await.unwrap().success());
    }
}

#[tokio::test]
async fn a_name_that_is_not_looked_up_is_told() {
    let guest = Guest::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let to = async |host: &str| {
        let mut ssh = guest.client("ssh");
        ssh.args(["-W", &format!("{host}:{port}"), "root@127.0.0.1"]);
        within(ssh.output()).await.unwrap()
    };
    let refused = to("db.internal").await;
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(255), "{said}");
    assert!(said.contains("open failed") && said.contains("`db.internal`"), "{said}");
    assert!(said.contains("addresses and `localhost`"), "{said}");

    for host in ["LOCALHOST", "127.0.0.1"] {
        let accepted = async { drop(listener.accept().await.unwrap()) };
        let (connected, ()) = tokio::join!(to(host), within(accepted));
        assert!(connected.status.success(), "{host}: {connected:?}");
    }
}

/// Bytes that come from a port whose other end does not exist.
async fn ask_quietly(port: u16) -> usize {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).await.unwrap_or(0)
}
