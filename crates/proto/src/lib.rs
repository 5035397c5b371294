//! Every contract that crosses a process boundary: the HTTP interface's types, the guest
//! protocol, error codes, exit codes and the environment table.
//!
//! No I/O happens here and nothing waits; a type in this crate is either on a wire, in a file
//! that another process reads, or the parser of one.
//!
//! | module | crosses |
//! |---|---|
//! | [`api`] | CLI and other clients ↔ daemon (HTTP over a unix socket) |
//! | [`guest`] | daemon ↔ agent (frames on streams of the guest link) |
//! | [`helper`] | daemon ↔ network helper (packets on a unix socket, with descriptors) |
//! | [`jail`] | daemon, supervisor ↔ what becomes a VMM (a file, a pipe) |
//! | [`supervisor`] | daemon ↔ the per-VM supervisor (files and a socket) |
//! | [`problem`], [`exit_code`] | what every failure looks like |
//! | [`subnet`], [`mac`] | addresses of guests |
//! | [`id`], [`name`], [`image_name`], [`size`], [`period`] | the words all of them share |
//! | [`signal`] | numbers of signals by their names |
//! | [`harmless`] | the words of guests and images on their way to a terminal |
//! | [`oci`] | names of images in registries, digests |
//! | [`build`] | what a program was built from |
//! | [`installation`] | how a release is laid out on a disk |
//! | [`env`], [`paths`] | every environment variable the programs read, and where things are |

pub mod api;
pub mod bridge_name;
pub mod build;
pub mod env;
pub mod exit_code;
pub mod guest;
pub mod harmless;
pub mod helper;
pub mod id;
pub mod image_name;
pub mod installation;
pub mod jail;
pub mod mac;
pub mod name;
pub mod oci;
pub mod paths;
pub mod period;
pub mod problem;
pub mod signal;
pub mod size;
mod snapshot_name;
pub mod subnet;
pub mod supervisor;

pub use bridge_name::BridgeName;
pub use id::{JobId, OpId, VmId};
pub use image_name::ImageName;
pub use mac::MacAddress;
pub use name::VmName;
pub use oci::{Digest, Reference};
pub use paths::Paths;
pub use period::Period;
pub use problem::{Code, Problem};
pub use size::ByteSize;
pub use snapshot_name::{ParseSnapshotNameError, SnapshotName};
pub use subnet::Subnet;

/// Version of the HTTP interface. A client and a daemon must agree on it; it grows when a
/// request or a response changes its meaning.
pub const API_VERSION: u32 = 1;

/// Generation of the guest protocol that this build speaks. The host adapts to older agents.
pub const GUEST_GENERATION: u32 = 1;
