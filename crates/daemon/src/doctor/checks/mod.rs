//! The checks, one file per subject. Each is an async function of [`Inputs`](super::Inputs).

pub(super) mod builder;
pub(super) mod content;
pub(super) mod jail;
pub(super) mod machine;
pub(super) mod names;
pub(super) mod network;
pub(super) mod places;
pub(super) mod programs;
pub(super) mod ssh;
mod system_network;
