//! The module's only unsafe code: what a child does between fork and exec.
#![expect(unsafe_code, reason = "code between fork and exec")]

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::process::Command;

/// Has the program that `command` starts, and all that it starts, get `bytes` of memory of their
/// own each at most. Files that they map count nothing.
pub(super) fn limit_memory(command: &mut Command, bytes: u64) {
    // It can be lowered only.
    let most = getrlimit(Resource::Data).maximum.map_or(bytes, |most| most.min(bytes));
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    let prepare = move || Ok(setrlimit(Resource::Data, limit)?);
    // SAFETY: between fork and exec one system call is made; nothing is allocated or locked.
    unsafe { command.pre_exec(prepare) };
}
