//! Random streams; the fuzz targets in `fuzz/` look for worse ones.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::check;

/// Streams of changes with a byte or two gone wrong.
fn almost_changes() -> impl Strategy<Value = Vec<u8>> {
    let mode = prop_oneof![Just(0_u32), Just(0o100_644), Just(0o100_755), Just(0o120_000)];
    let change = (vec(any::<u8>(), 1..9), mode, vec(any::<u8>(), 0..9)).prop_map(
        |(path, mode, contents)| {
            let length = u32::try_from(path.len()).unwrap().to_be_bytes();
            let size = (contents.len() as u64).to_be_bytes();
            [&length[..], &path, &mode.to_be_bytes(), &size, &contents].concat()
        },
    );
    (vec(change, 0..6), vec((any::<prop::sample::Index>(), any::<u8>()), 0..3)).prop_map(
        |(changes, wrong)| {
            let mut bytes = changes.concat();
            for (at, byte) in wrong {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn archives_by_script(script in vec(any::<u8>(), 0..60)) {
        check::scripted(&script);
    }

    #[test]
    fn archives_of_noise(noise in vec(any::<u8>(), 0..2000)) {
        check::landed(&noise);
    }

    #[test]
    fn changes(bytes in almost_changes()) {
        check::changes(&bytes);
    }
}
