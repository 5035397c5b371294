//! Real VMs, driven through the real command line.

mod create;
mod errors;
mod exec;
mod image_config;
mod insight;
mod lifecycle;
mod recovery;
mod soak;
mod terminal;
mod workspace;
