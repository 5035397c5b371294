//! How the host reaches what listens in a guest: TCP, over the guest link.
//!
//! ```text
//!   agent ──who listens──▶ PortFeed ─▶ Doors: one listener for each port        Reach: what is shown
//!                                        │ accept, while there are places           ▲
//!                                        ▼                                          │
//!   guest ◀══ link, one stream each ══ connection                            Forwards: one task a VM
//! ```
//!
//! | module | responsible for |
//! |---|---|
//! | `feed` | who listens in the guest, whole pictures of it |
//! | `doors` | the sockets of one VM: which there are to be, and whose turn it is |
//! | `published` | ports of the host that were asked for: had before the VM starts, or it does not |
//! | `connection` | one connection: both ways, each end of its own |
//! | `reach` | what is known of it, for who asks |
//! | `probe` | which ports answer HTTP |
//! | `forwards` | the task of one VM that does all this |
//! | `budget` | how many files all of it may have open |
//!
//! While the VM sleeps because nobody used it, its sockets stay: a connection wakes it first, and one to a
//! VM that was down then waits until the guest listens.
//!
//! UDP is told and not forwarded. Nothing is dropped for want of a place: connections wait in the
//! kernel's queue of their socket until one before them ends.

mod budget;
mod connection;
mod doors;
mod feed;
mod forwards;
mod probe;
mod published;
mod reach;

pub use budget::Budget;
pub(crate) use forwards::{Forwards, Wanted};
pub(crate) use probe::probe;
pub(crate) use published::{Published, render_exposures};
pub(crate) use reach::{Reach, Seen};
