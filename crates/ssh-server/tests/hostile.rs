//! Clients that do not do what clients do. Those that do are tested with the agent, which has
//! commands to run.

use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use banger_ssh_server::{AuthorizedKeys, Config, Ending, Error, Exit, HostKey, serve};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A new key, as `ssh-keygen` makes it.
fn host_key() -> Arc<HostKey> {
    static KEY: OnceLock<Arc<HostKey>> = OnceLock::new();
    let make = || {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        let words = ["-q", "-t", "ed25519", "-N", "", "-f"];
        let made = Command::new("ssh-keygen").args(words).arg(&path).status();
        assert!(made.expect("ssh-keygen").success());
        let text = std::fs::read_to_string(&path).expect("the key");
        Arc::new(HostKey::parse_openssh(&text).expect("a key"))
    };
    Arc::clone(KEY.get_or_init(make))
}

fn config(login_time: Duration) -> Config {
    Config {
        host_key: host_key(),
        users: vec!["root".to_owned()],
        authorized_keys: AuthorizedKeys::default(),
        login_time,
    }
}

/// How a connection ends that consists of `bytes`, and what the server says.
async fn say(bytes: &[u8]) -> (Result<Ending, Error>, Vec<u8>) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let config = config(Duration::from_secs(60));
    let served = serve(far, &config, |_session| async { Exit::Code(0) });
    let client = async {
        let (mut from, mut to) = tokio::io::split(near);
        let _ = to.write_all(bytes).await;
        let _ = to.shutdown().await;
        let mut said = Vec::new();
        let _ = from.read_to_end(&mut said).await;
        said
    };
    tokio::join!(served, client)
}

#[tokio::test]
async fn a_silent_client_is_not_waited_for() {
    let (_near, far) = tokio::io::duplex(1 << 20);
    let config = config(Duration::from_millis(1));
    let served = serve(far, &config, |_session| async { Exit::Code(0) }).await;
    assert!(matches!(served, Err(Error::LoginTime(_))), "{served:?}");
}

#[tokio::test]
async fn a_client_that_leaves_at_once_is_no_error() {
    for bytes in [&b""[..], b"SSH-2.0-x", b"SSH-2.0-x\r\n", b"SSH-2.0-x\r\n\0\0\0\x0c"] {
        let (ending, said) = say(bytes).await;
        assert_eq!(ending.expect("an end"), Ending::Closed);
        assert!(said.starts_with(b"SSH-2.0-banger"));
    }
}

/// A packet before there are keys.
fn clear(payload: &[u8]) -> Vec<u8> {
    let padding = 8 - (5 + payload.len()) % 8 + 8;
    let length = u32::try_from(1 + payload.len() + padding).expect("short");
    let mut packet = length.to_be_bytes().to_vec();
    packet.push(u8::try_from(padding).expect("short"));
    packet.extend_from_slice(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

#[tokio::test]
async fn nothing_is_served_before_there_are_keys() {
    // Service request, login, global request, channel, new keys, half of an exchange.
    for number in [5, 50, 80, 90, 94, 98, 21, 30, 31, 200] {
        let mut bytes = b"SSH-2.0-x\r\n".to_vec();
        bytes.extend(clear(&[number, 0, 0, 0, 0]));
        let (ending, _) = say(&bytes).await;
        assert!(matches!(ending, Err(Error::Protocol { reason: Some(2), .. })), "{number}");
    }
    // What means nothing is let pass.
    let mut bytes = b"SSH-2.0-x\r\n".to_vec();
    bytes.extend(clear(&[2, 0, 0, 0, 0]));
    assert_eq!(say(&bytes).await.0.expect("an end"), Ending::Closed);
}

proptest! {
    #[test]
    fn any_bytes_end_the_connection_in_order(
        packets in proptest::collection::vec(
            (0..60u8, proptest::collection::vec(any::<u8>(), 0..200)),
            0..6,
        ),
        tail in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut bytes = b"SSH-2.0-x\n".to_vec();
        for (number, rest) in packets {
            let number = if number < 30 { 20 } else { number };
            bytes.extend(clear(&[&[number], &rest[..]].concat()));
        }
        bytes.extend(tail);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let (ending, said) = runtime.expect("a runtime").block_on(say(&bytes));
        prop_assert!(said.starts_with(b"SSH-2.0-banger"));
        let in_order = match ending {
            Ok(_) | Err(Error::Protocol { .. }) => true,
            Err(Error::Stream(_) | Error::LoginTime(_)) => false,
        };
        prop_assert!(in_order);
    }
}
