//! Archives on their way out of a guest: any bytes, and any entries in any order.

#![no_main]
#![expect(
    dead_code,
    reason = "the checks and their places are shared by all targets and the tests"
)]

#[path = "../../crates/tree/tests/tree/check.rs"]
mod check;
#[path = "../../crates/tree/tests/tree/rig.rs"]
mod rig;

// The first byte chooses, so that archives as they are can be seeds.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    match data.split_first() {
        Some((0, archive)) => check::landed(archive),
        Some((_, script)) => check::scripted(script),
        None => {}
    }
});
