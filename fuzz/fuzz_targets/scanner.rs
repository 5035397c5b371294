//! The marker scanner: any stream, cut anywhere.

#![no_main]
#![expect(dead_code, reason = "the checks are shared by all targets")]

#[path = "../../crates/link/tests/link/check.rs"]
mod check;
#[path = "../../crates/link/tests/link/raw.rs"]
mod raw;

libfuzzer_sys::fuzz_target!(|data: (u8, &[u8])| check::scanner(data.1, usize::from(data.0)));
