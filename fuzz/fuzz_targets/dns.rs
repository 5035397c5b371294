//! Questions to the name server: any bytes, from every kind of asker.
//!
//! The daemon's own files, without the daemon around them, which would be built with instruments, too.

#![no_main]
#![expect(dead_code, reason = "the daemon uses more of these than the fuzzer")]

#[path = "../../crates/daemon/src/dns/check.rs"]
mod check;
#[path = "../../crates/daemon/src/dns/packet.rs"]
mod packet;
#[path = "../../crates/daemon/src/dns/zone.rs"]
mod zone;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::packet(&check::zone(), data));
