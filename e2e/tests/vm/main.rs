//! Real VMs, driven through the real command line.

mod agent;
mod bootstrap;
mod builtin_ssh;
mod cp;
mod create;
mod crowd;
mod errors;
mod exec;
mod file_sync;
mod idle;
mod image_config;
mod insight;
mod jobs;
mod lifecycle;
mod network;
mod open_files;
mod recovery;
mod set;
mod snapshots;
mod soak;
mod ssh;
mod terminal;
mod upgrade;
mod workspace;
mod workspace_home;
mod workspace_prepare;
