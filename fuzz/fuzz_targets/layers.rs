//! Layers of an image: any bytes, and any entries in any order.

#![no_main]
#![expect(dead_code, reason = "the builder of archives has what only the tests need")]

#[path = "../../crates/rootfs/tests/image/check.rs"]
mod check;
#[path = "../../crates/rootfs/tests/image/tar.rs"]
mod tar;

// The first byte chooses, so that archives as they are can be seeds: see `layer_seeds`.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    match data.split_first() {
        Some((0, archives)) => check::bytes(archives),
        Some((_, script)) => check::scripted(script),
        None => {}
    }
});
