//! The agent's services over a byte stream in memory, with the test's own system as the guest.

#![expect(clippy::unwrap_used, reason = "also outside of test functions, a test stops there")]

mod builtin_ssh;
mod control;
mod exec;
mod host;
mod image_program;
mod input;
mod jobs;
mod ports;
mod ssh;
/// The test kit needs the agent, so the agent's tests cannot have all of it.
#[expect(unreachable_pub, reason = "it is the test kit's, too")]
#[path = "../../../testkit/src/trusted.rs"]
mod trusted;
mod unpack;
