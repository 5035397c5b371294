//! The guest link: one byte stream between host and guest, multiplexed, the same code at both
//! ends.
//!
//! Responsible for finding the other end on a stream that may still carry an earlier session,
//! for many independent streams on it, and for frames. What the streams are used for, and how
//! the byte stream comes about (virtio-serial, vsock, a socket pair), is not its business.
//!
//! ```text
//!     host: connect_host                                 guest: serve_guest
//!                            ◀────── CALL ──────          this end is new
//!     HELLO(nonce), repeated ──────────────────▶          ends a running session
//!     all bytes discarded    ◀──── ACK(nonce) ──
//!     START(nonce)           ──────────────────▶
//!                            ◀── STARTED(nonce) ─
//!     ═══════════════ yamux streams, until the byte stream or the session ends ════════════
//! ```
//!
//! Bytes pass four layers: [`framed`] over [`LinkStream`] over yamux (`mux`) over the `pump`,
//! which scans for [`marker`]s and keeps the two ends from waiting for each other.

pub mod framed;
mod guest;
mod host;
pub mod marker;
mod mux;
mod pump;
mod session;
mod stream;

pub use guest::serve_guest;
pub use host::connect_host;
pub use marker::{Magic, ParseMagicError};
pub use session::Session;
pub use stream::LinkStream;

/// Generation of the link's own protocol: markers and the settings of the multiplexing. Ends of
/// different generations use the older one.
const GENERATION: u32 = 1;

/// Why a link or a session on it is over, or a stream was not opened.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The byte stream ended: the VM is gone, or the other end of the socket.
    #[error("guest link ended")]
    Ended,
    /// The byte stream failed.
    #[error("guest link failed")]
    Io(#[from] std::io::Error),
    /// The other end broke the rules of the multiplexing.
    #[error("guest link carries malformed streams")]
    Protocol(#[source] yamux::ConnectionError),
    /// The other end broke a limit of the multiplexing: streams, windows or their numbers.
    #[error("guest link's other end broke a limit of its streams")]
    Violation,
    /// The other end started anew: its program or its machine restarted.
    #[error("guest link was started anew by its other end")]
    Restarted,
    /// The session is over; [`Session::closed`] says why.
    #[error("guest link session is over")]
    Closed,
    /// Every handle of the session was dropped on this side.
    #[error("guest link session was dropped")]
    Dropped,
    /// As many streams are open as one session may have.
    #[error("guest link has no room for another stream: {0} are open")]
    TooManyStreams(usize),
}
