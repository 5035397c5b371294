//! Which ports of a guest answer HTTP: each is asked for nothing but a head, and has to begin its
//! answer as HTTP or TLS does. What else it says is not looked at.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::guest::GuestClient;

/// Ports that are asked at a time.
const AT_ONCE: usize = 16;
/// How long one may take, with hardware virtualisation.
const DEADLINE: Duration = Duration::from_millis(500);
/// How long all of them may take, as a multiple of it.
const ALL: u32 = 4;
/// Bytes of an answer by which it is known.
const BEGINNING: usize = 5;

/// The URL scheme of each port that answers; `slowness` is that of the guest.
pub(crate) async fn probe(
    guest: &GuestClient,
    ports: impl IntoIterator<Item = u16>,
    slowness: u32,
) -> BTreeMap<u16, &'static str> {
    let each = DEADLINE * slowness;
    let end = Instant::now() + each * ALL;
    let asked = stream::iter(ports).map(async |port| {
        let deadline = end.min(Instant::now() + each);
        let scheme = timeout_at(deadline, ask(guest, port)).await.ok().flatten()?;
        Some((port, scheme))
    });
    asked.buffer_unordered(AT_ONCE).filter_map(async |answer| answer).collect().await
}

async fn ask(guest: &GuestClient, port: u16) -> Option<&'static str> {
    let mut stream = guest.forward(port).await.ok()?;
    stream.write_all(b"HEAD / HTTP/1.0\r\nHost: localhost\r\n\r\n").await.ok()?;
    let mut beginning = Vec::with_capacity(BEGINNING);
    let mut answer = stream.take(BEGINNING as u64);
    // One that breaks off has said what it has said.
    let _ = answer.read_to_end(&mut beginning).await;
    scheme_of(&beginning)
}

/// A server of TLS answers what is no TLS with an alert (RFC 8446 §5.1, §6), if it answers.
fn scheme_of(beginning: &[u8]) -> Option<&'static str> {
    match beginning {
        b"HTTP/" => Some("http"),
        [0x15, 0x03, ..] => Some("https"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_known_by_their_beginning() {
        assert_eq!(scheme_of(b"HTTP/"), Some("http"));
        assert_eq!(scheme_of(&[0x15, 0x03, 0x03, 0, 2]), Some("https"));
        for other in [&b"SSH-2"[..], b"HTT", b"", b"\x15"] {
            assert_eq!(scheme_of(other), None);
        }
    }
}
