//! The checks of the fuzz targets with a few random inputs, for every run of the tests.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::check;

/// Bytes that are often almost a frame of yamux.
fn almost_yamux() -> impl Strategy<Value = Vec<u8>> {
    let frame = (0u8..5, 0u8..16, 0u32..6, prop_oneof![0u32..40, any::<u32>()], any::<u8>());
    let frame = frame.prop_map(|(kind, flags, stream, length, body)| {
        let mut bytes = vec![0, kind, 0, flags];
        bytes.extend(stream.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        if kind == 0 {
            bytes.resize(12 + length.min(64) as usize, body);
        }
        bytes
    });
    vec(frame, 0..30).prop_map(|frames| frames.concat())
}

/// Bytes that are often almost a frame of the guest protocol.
fn almost_frames() -> impl Strategy<Value = Vec<u8>> {
    let frame = (prop::sample::select(vec![1u8, 2, 17, 32, 33, 99]), vec(any::<u8>(), 0..300));
    let frame = frame.prop_map(|(kind, payload)| {
        let mut bytes = vec![kind, 0, 0];
        bytes.extend((payload.len() as u16).to_be_bytes());
        bytes.extend(payload);
        bytes
    });
    (vec(frame, 0..6), any::<prop::sample::Index>()).prop_map(|(frames, end)| {
        let bytes = frames.concat();
        let end = end.index(bytes.len() + 1);
        bytes[..end].to_vec()
    })
}

proptest! {
    #[test]
    fn scanner(script in vec(any::<u8>(), 0..60), cut in 1usize..80) {
        check::scanner(&script, cut);
    }

    #[test]
    fn frames(bytes in almost_frames(), step in 1usize..80) {
        check::frames(&bytes, step);
    }

    #[test]
    fn session(bytes in almost_yamux()) {
        check::session(&bytes);
    }
}
