//! The guest's end of the link: answers every host that says hello, one session after the other.
//!
//! ```text
//!             CALL        HELLO: ACK          START of the last HELLO: STARTED
//!   new end ───────▶ waiting ◀──┐ ───────────────────────────▶ session
//!                     ▲   └─────┘                                │  │
//!                     ├───────────── marker ─────────────────────┘  │
//!                     └───── CALL ── broken session ────────────────┘
//! ```

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::marker::{Marker, MarkerKind};
use crate::mux::{Mux, SessionEnd, SharedPump, lock};
use crate::pump::{Pump, StreamEnd};
use crate::stream::{LinkStream, Tie};
use crate::{GENERATION, LinkError, Magic};

/// Serves the guest's end of the link on `io`: answers handshakes and gives every stream that
/// the host opens to `on_stream`, which must not wait; session after session, until `io` ends.
/// A session ends when a host connects anew or breaks the rules; its streams then fail.
///
/// # Errors
/// When `io` fails. Its end is none.
pub async fn serve_guest<T, F>(io: T, magic: Magic, mut on_stream: F) -> Result<(), LinkError>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    F: FnMut(LinkStream),
{
    let pump = Arc::new(Mutex::new(Pump::new(io, magic)));
    let mut call = true;
    loop {
        if let Err(end) = await_start(&pump, call).await {
            return end.map_err(LinkError::Io);
        }
        let tie = Arc::new(Tie::default());
        let mut mux = Mux::new(pump.clone(), yamux::Mode::Server);
        let end = loop {
            match poll_fn(|cx| mux.poll_inbound(cx)).await {
                Ok(stream) => on_stream(LinkStream::accepted(stream, tie.clone())),
                Err(end) => break end,
            }
        };
        tie.cut();
        drop(mux);
        lock(&pump).end_session();
        match end {
            SessionEnd::Stream(end) => return end.map_err(LinkError::Io),
            // The host has just spoken; it needs no call.
            SessionEnd::Interrupted => call = false,
            SessionEnd::Protocol(_) | SessionEnd::Violation => call = true,
        }
    }
}

/// Answers the host's markers until a session starts; the answer to that is still queued.
async fn await_start<T>(pump: &SharedPump<T>, call: bool) -> Result<(), StreamEnd>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut pump = Waiting { pump, last_hello: None };
    if call {
        pump.say(MarkerKind::Call, [0; 16], GENERATION);
    }
    poll_fn(|cx| pump.poll_start(cx)).await
}

struct Waiting<'a, T> {
    pump: &'a SharedPump<T>,
    /// Nonce of the last `Hello`: the only one whose `Start` counts.
    last_hello: Option<[u8; 16]>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Waiting<'_, T> {
    fn say(&self, kind: MarkerKind, nonce: [u8; 16], generation: u32) {
        lock(self.pump).queue(Marker { kind, nonce, generation });
    }

    fn poll_start(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamEnd>> {
        loop {
            let marker = ready!(lock(self.pump).poll_marker(cx))?;
            match marker.kind {
                MarkerKind::Hello => {
                    // Answers that cannot leave are not piled up: the host asks again.
                    if self.last_hello != Some(marker.nonce) || !lock(self.pump).has_output() {
                        self.last_hello = Some(marker.nonce);
                        self.say(MarkerKind::Ack, marker.nonce, GENERATION);
                    }
                }
                MarkerKind::Start if self.last_hello == Some(marker.nonce) => {
                    let generation = marker.generation.min(GENERATION);
                    self.say(MarkerKind::Started, marker.nonce, generation);
                    return Poll::Ready(Ok(()));
                }
                MarkerKind::Start | MarkerKind::Call | MarkerKind::Ack | MarkerKind::Started => {}
            }
        }
    }
}
