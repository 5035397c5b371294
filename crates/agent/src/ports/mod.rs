//! Ports that programs of the guest listen at, and connections to them.
//!
//! ```text
//!   ports:    every half second  sockets ─▶ owners ─▶ record ─▶ what changed ─▶ host
//!   forward:  host ══ stream ══ carry ══ TCP ══ whoever listens                (`forward`)
//! ```
//!
//! | module | responsible for |
//! |---|---|
//! | `sockets` | the kernel's tables of sockets |
//! | `owners` | whose socket it is |
//! | `record` | what the host was told, and what it is to be told next |
//! | `watch` | the service that tells it |
//! | `forward` | the service that connects |
//!
//! It is the network namespace of the guest itself that is looked at and connected in. What listens
//! in a container with a network of its own is seen only where its engine publishes it.

mod forward;
mod owners;
mod record;
mod sockets;
mod watch;

pub(crate) use forward::serve as forward;
pub(crate) use watch::serve as watch;
