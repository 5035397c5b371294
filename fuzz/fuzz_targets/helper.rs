//! What the network helper is asked: any packet, and nearly requests.

#![no_main]

#[path = "../../crates/helper/tests/requests/check.rs"]
mod check;

// The first byte chooses, so that packets as they are can be seeds.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    match data.split_first() {
        Some((0, packet)) => drop(check::packet(packet)),
        Some((_, script)) => drop(check::scripted(script)),
        None => {}
    }
});
