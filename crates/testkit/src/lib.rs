//! What tests of several crates share: a small world in memory instead of VMMs, a daemon in its
//! own directories, and a client for its socket.
//!
//! Fakes stand at process boundaries only. [`World`] replaces supervisors and VMMs and answers
//! with the real agent's services; database, disks, HTTP and sockets are the real ones.

mod client;
mod daemon;
mod env;
mod firecracker_api;
mod hostile;
mod interface;
mod machine;
mod network;
mod ports;
mod saved;
mod steps;
mod trusted;
mod world;

pub use client::{Answer, Client, Events, ExecStream, Lines};
pub use daemon::TestDaemon;
pub use env::TestEnv;
pub use firecracker_api::FirecrackerApi;
pub use hostile::{Hostile, Then, frame};
pub use interface::Interface;
pub use network::FakeNetwork;
pub use steps::HeldStep;
pub use trusted::trusted_dir;
pub use world::{Boot, World};
