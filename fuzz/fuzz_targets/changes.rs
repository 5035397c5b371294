//! What a guest says has changed in a tree, and what is known of one.

#![no_main]
#![expect(
    dead_code,
    reason = "the checks and their places are shared by all targets and the tests"
)]

#[path = "../../crates/tree/tests/tree/check.rs"]
mod check;
#[path = "../../crates/tree/tests/tree/rig.rs"]
mod rig;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::changes(data));
