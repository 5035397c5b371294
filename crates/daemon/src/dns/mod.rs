//! The name server of VMs: `web.vm` for programs on this host and in guests.
//!
//! ```text
//!            ┌─────────────┐ publish()  ┌──────┐   ┌───────────┐◀── programs of the host, at `dns_listen`
//! engine ───▶│    Names    │───────────▶│ Zone │◀──│ DnsServer │
//!            └─────────────┘  replaces  └──────┘   └───────────┘◀── guests, at their gateway
//!                                                        │ what is of no VM, for who may go out
//!                                                        ▼
//!                                                 host's resolvers
//! ```
//!
//! | module | responsible for |
//! |---|---|
//! | `zone` | which names there are and what is said to whom; pure |
//! | `packet` | questions and answers as bytes; pure |
//! | `server`, `udp`, `tcp` | sockets, loops, limits |
//! | `forward`, `resolvers` | asking the host's resolvers; who they are |
//! | `names` | the daemon's one table of names, and its server for this host |
//!
//! Not responsible for addresses: who has which is handed in, as are the sockets on the network of
//! guests.

mod forward;
mod names;
mod packet;
mod resolvers;
mod server;
mod tcp;
mod udp;
mod zone;

pub use names::Names;
pub use packet::{Question, Transport, Verdict, answer};
pub use resolvers::Resolvers;
pub use server::{BindError, DnsServer, Face, Sockets};
pub use zone::{Answer, Asker, DOMAIN, GATEWAY, Record, Zone, lookup};

#[cfg(test)]
mod check;
#[cfg(test)]
mod tests;
