//! Driving the real `banger` as a user would: real VMs, real git, a home of its own.
//!
//! [`Home`] is one user's home in a temporary directory: its own state, sockets and
//! configuration, hence its own daemon. Images and kernels are shared by all of them (under
//! `target/e2e`), because making them takes minutes and nothing changes them.

mod home;
mod image;
mod leftovers;
mod repository;
mod shared;
mod terminal;

pub use home::{Home, Ran};
pub use image::OciImage;
pub use repository::Repository;
pub use terminal::Terminal;
