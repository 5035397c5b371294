//! Real VMs, driven through the real command line.

mod create;
mod errors;
mod exec;
mod image_config;
mod lifecycle;
mod recovery;
mod soak;
mod terminal;
mod workspace;
