//! The host's session: whatever a guest says after the handshake.

#![no_main]
#![expect(dead_code, reason = "the checks are shared by all targets")]

#[path = "../../crates/link/tests/link/check.rs"]
mod check;
#[path = "../../crates/link/tests/link/raw.rs"]
mod raw;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::session(data));
