//! Packets from anybody: see `check.rs`. The same checks run for longer under `make fuzz`.

mod check;

use proptest::prelude::*;

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        check::packet(&bytes);
    }

    #[test]
    fn nearly_requests(script in prop::collection::vec(any::<u8>(), 0..60)) {
        check::scripted(&script);
    }
}

#[test]
fn scripts_lead_to_requests_that_are_accepted() {
    // Otherwise the checks above would see refusals only.
    let accepted = (0..=u8::MAX)
        .filter(|byte| check::scripted(&[0, 0, 0, 0, 1, 0, 0, 0, *byte, 0, 1]))
        .count();
    assert!(accepted > 100, "{accepted}");
    let guest = [0, 0, 0, 0, 1, 1, 0x1f, 0x90, 7, 0, 9, 0, 1];
    assert!(check::scripted(&guest));
}
