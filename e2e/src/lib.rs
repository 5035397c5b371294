//! Driving the real `banger` as a user would: real VMs, real git, real registries, a home of its
//! own.
//!
//! [`Home`] is one user's home in a temporary directory: its own state, sockets and
//! configuration, hence its own daemon. Images and kernels are shared by all of them (under
//! `target/e2e`), because making them takes minutes and nothing changes them; a home that is
//! [apart](Home::apart) has its own, for tests of images.
//!
//! Images come from a [`Registry`], made by [`oci`] with tools of others, and the file systems
//! that banger makes of them are read by [`ext4`] with tools of others, to be compared as
//! [`tree::Tree`]s.

mod changes;
pub mod ext4;
mod gate;
mod home;
pub mod host;
mod image;
mod image_store;
pub mod lan;
mod leftovers;
pub mod oci;
pub mod registry;
mod releases;
mod repository;
mod shared;
mod small;
mod terminal;
pub mod tree;
mod web;

pub use changes::Changes;
pub use gate::Gate;
pub use home::{Home, Ran};
pub use image::OciImage;
pub use leftovers::{files, is_gone_within, kill_and_wait};
pub use oci::Sample;
pub use registry::Registry;
pub use releases::Releases;
pub use repository::Repository;
pub use shared::{banger, checkout, is_at_home, prefix};
pub use small::SMALL;
pub use terminal::Terminal;
pub use tree::Tree;
pub use web::WebServer;
