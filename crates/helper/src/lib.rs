//! The network helper: the only code that will change networks.
//!
//! It executes typed, idempotent operations, as root in the host's network namespace or as root
//! of a user namespace of its own, and is a crate apart because of that privilege: blocking, a
//! small dependency tree, no network client. It has no operations yet: VMs have no network
//! device, and commands, files and terminals travel over the guest link.
