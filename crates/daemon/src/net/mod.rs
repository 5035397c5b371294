//! The network that the VMs of one user share, and what of it leads elsewhere.
//!
//! ```text
//!  boot, stop ──▶ VmNetwork ──▶ dyn Privileged ──packets──▶ banger-helper   (bridge, taps, rules)
//!                  │ who has which address, what may it reach?
//!                  ├─▶ names      the zone of the name server
//!                  └─▶ HostPorts  `host.vm:PORT`, from the bridge to the host's loopback
//! ```
//!
//! | module | responsible for |
//! |---|---|
//! | `network` | the owner: attach, detach, settle after a restart, tear down |
//! | `leases` | which VM has which address; pure |
//! | `rules` | from guests to what the helper is told; pure |
//! | `privileged` | the seam to whoever may change networks |
//! | `client` | packets to a helper and back |
//! | `user` | a namespace of this user's own: its holder, its helper, its uplink |
//! | `system` | the host's network, by the service of the system |
//! | `choose` | which of the two |
//! | `host_networks` | what is taken by the host already |
//! | `host_ports` | ports of the host that guests may reach |
//!
//! Nothing of it is made before a VM boots, and nothing is left when the last one has gone and the
//! daemon ends. VMs keep their network while no daemon runs.

mod choose;
mod client;
mod host_networks;
mod host_ports;
mod leases;
mod network;
mod privileged;
mod rules;
mod system;
pub mod user;

pub use choose::choose;
pub use network::{Attached, Card, NetworkOptions, Place, VmNetwork, Wishes};
pub use privileged::{Answer, NetworkError, Privileged};
pub use system::SystemNetwork;
pub use user::NetworkLeftover;
