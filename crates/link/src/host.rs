//! The host's end of the link: makes the guest forget earlier sessions and starts a new one.
//!
//! ```text
//!            HELLO, again and          START
//!            at each CALL      ACK                     STARTED
//!   ┌──▶ greeting ───────────────▶ starting ──────────────────▶ session
//!   │ new nonce                       │
//!   └──── no answer, or a CALL ───────┘
//! ```

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use crate::marker::{Marker, MarkerKind};
use crate::mux::{SharedPump, lock};
use crate::pump::Pump;
use crate::session::Session;
use crate::{GENERATION, LinkError, Magic};

/// How often a `Hello` is repeated: nobody may have been there to hear the last one. A guest
/// that comes up calls, so this is not what a boot waits for.
const HELLO_INTERVAL: Duration = Duration::from_millis(300);

/// How long the answer to the first `Start` is waited for, and twice as long each further time:
/// the guest was there a moment ago, so only its death, or hard work of the machine, delays it.
const START_PATIENCE: Duration = Duration::from_secs(2);

/// Longest of these waits.
const START_PATIENCE_MAX: Duration = Duration::from_secs(60);

/// Connects the host's end of the link on `io`: discards whatever the guest still has to say to
/// earlier hosts and starts a session. It waits as long as it takes for the guest's answer, so
/// the caller races it against the VM's end. It needs a tokio runtime with time enabled.
///
/// # Errors
/// When `io` ends or fails first.
pub async fn connect_host<T>(io: T, magic: Magic) -> Result<Session, LinkError>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let pump = Arc::new(Mutex::new(Pump::new(io, magic)));
    let mut patience = START_PATIENCE;
    while !attempt(&pump, patience).await? {
        patience = (2 * patience).min(START_PATIENCE_MAX);
    }
    Ok(Session::start(pump))
}

/// One attempt with its own nonce; false when the guest was lost between greeting and start.
/// Only then may the nonce change: every `Hello` of this one precedes its `Start`, so the guest
/// never takes a late one for a new host.
async fn attempt<T>(pump: &SharedPump<T>, patience: Duration) -> Result<bool, LinkError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let nonce = random_nonce()?;
    let say = |kind, generation| lock(pump).queue(Marker { kind, nonce, generation });
    let generation = loop {
        // One that could not leave yet is as good as a new one.
        if !lock(pump).has_output() {
            say(MarkerKind::Hello, GENERATION);
        }
        let again = Instant::now() + HELLO_INTERVAL;
        let answer = timeout_at(again, next_of(pump, nonce, MarkerKind::Ack)).await;
        if let Some(ack) = answer.unwrap_or(Ok(None))? {
            break ack.generation.min(GENERATION);
        }
    };
    say(MarkerKind::Start, generation);
    let deadline = Instant::now() + patience;
    let answer = timeout_at(deadline, next_of(pump, nonce, MarkerKind::Started)).await;
    Ok(answer.unwrap_or(Ok(None))?.is_some())
}

/// The next marker of this kind and nonce, or `None` when the guest calls first. Other markers
/// answer earlier hosts or earlier questions.
async fn next_of<T>(
    pump: &SharedPump<T>,
    nonce: [u8; 16],
    kind: MarkerKind,
) -> Result<Option<Marker>, LinkError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match poll_fn(|cx| lock(pump).poll_marker(cx)).await {
            Ok(marker) if marker.kind == MarkerKind::Call => return Ok(None),
            Ok(marker) if marker.kind == kind && marker.nonce == nonce => return Ok(Some(marker)),
            Ok(_) => {}
            Err(Ok(())) => return Err(LinkError::Ended),
            Err(Err(error)) => return Err(LinkError::Io(error)),
        }
    }
}

fn random_nonce() -> Result<[u8; 16], LinkError> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|error| LinkError::Io(error.into()))?;
    Ok(nonce)
}
